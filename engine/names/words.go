package names

import "strings"

var qualities = strings.Fields(`
	able airy amber ample ancient apt bold brave breezy bright brisk broad calm candid careful cheerful clean clear
	clever cosy crisp curious daring deep deft dry eager early easy even fair fast fine firm fond free fresh frosty
	gentle glad golden good grand green handy happy hardy hearty honest humble jolly keen kind large late light lively
	loyal lucky mellow merry mild modest neat nimble noble open patient plain plucky polite prompt proud pure quick
	quiet rapid ready rosy round safe sandy sharp shiny silent silver simple smart smooth snug solid sound spare spry
	steady still stout strong sunny swift tall tidy tough true vivid warm wary wide wild wise witty young zesty`)

var things = strings.Fields(`
	acorn anchor anvil apple arch badger barge barrel basin beacon beam beaver bell birch bishop boat bolt boom bridge
	brook buoy cable canal candle capstan castle cedar chain chart chestnut cliff clover comet compass coral crane
	crate creek current deck dock dolphin dune eagle ebb elm ember falcon feather fern ferry finch fjord flint forge
	fox gale gannet garden gate gear glacier grove gull harbour hawk hazel heron hill hoist hook hopper inlet
	island ivy jetty keel kestrel kettle kite ladder lagoon lake lamp lantern lark ledge lever lighthouse linden lock
	magpie maple marsh mast meadow mill mooring moss nest oak oar orchard osprey otter owl paddle parrot pebble pelican
	pier pilot pine plank pond pulley quarry quay raft raven reef ridge river robin rope rudder sail sailor seal
	shackle ship shore sparrow spring spruce stork stream swallow swan tackle thicket thistle tide timber tower trolley
	trout tug tulip valley vessel walnut wave wharf wheel willow winch wren yard`)
