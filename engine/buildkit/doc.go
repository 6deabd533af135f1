// Package buildkit has images built by a buildkitd beside the engine, whose worker is the engine's manager: what it
// builds is in the engine's store, and what is in the store can be built upon.
//
// The daemon costs memory, so it is started for the first who asks and ended when nobody has asked for a while; its cache
// and its history are on disk. Clients speak with it through a Relay.
package buildkit
