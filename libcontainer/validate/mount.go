package validate

import (
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/idmap"
)

func (c *checker) mounts(list []specs.Mount) {
	for i := range list {
		c.mount(&list[i], i)
	}
}

func (c *checker) mount(m *specs.Mount, i int) {
	opts := scanOptions(m)
	c.addAt("mounts", i, ".destination", refMounts, textRule(m.Destination))
	c.addAt("mounts", i, ".destination", refMounts, procRule(m, opts.bind))
	c.addAt("mounts", i, ".type", refPOSIXMounts, typeRule(m.Type, &opts))
	if opts.bind && m.Source == "" {
		c.addAt("mounts", i, ".source", refMounts, "must not be empty for a bind mount")
	}
	c.addAt("mounts", i, ".source", refMounts, nulRule(m.Source))
	c.options(m, i, &opts)
	c.symlinkOptions(i, &opts)
	if opts.idmap || m.UIDMappings != nil || m.GIDMappings != nil {
		c.idmapped(m, i, &opts)
	}
}

// typeRule asks for a filesystem unless the mount changes or copies one.
func typeRule(fstype string, opts *mountOptions) string {
	if opts.bind {
		return nulRule(fstype)
	}
	if fstype == "rbind" {
		return "is \"rbind\", a bind mount must have bind or rbind in its options"
	}
	if fstype == "" && !opts.remount {
		return "must not be empty without bind, rbind or remount in the options"
	}
	return nulRule(fstype)
}

// procRule keeps mounts from hiding or faking procfs (CVE-2019-16884). It looks at the
// text of the destination; launch looks again at where the path really leads.
func procRule(m *specs.Mount, bind bool) string {
	dest := path.Clean("/" + m.Destination)
	if dest == "/proc" {
		// That the source of a bind is a procfs only launch can see.
		if bind || m.Type == "proc" {
			return ""
		}
		return quote(dest) + " cannot be mounted because it is not of type proc"
	}
	if !strings.HasPrefix(dest, "/proc/") || emulatedProc(dest) {
		return ""
	}
	return quote(dest) + " cannot be mounted because it is inside /proc"
}

// emulatedProc reports whether the file is one that lxcfs and its like replace.
func emulatedProc(dest string) bool {
	switch dest {
	case "/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/net/dev",
		"/proc/slabinfo", "/proc/stat", "/proc/swaps", "/proc/uptime",
		"/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled":
		return true
	}
	return false
}

// options checks single options; that an unknown one is for the filesystem is the spec's rule.
// On a bind mount the kernel ignores those, and runc lets it.
func (c *checker) options(m *specs.Mount, i int, opts *mountOptions) {
	for j, o := range m.Options {
		rule := nulRule(o)
		switch {
		case rule != "" || o == "" || knownOption(o):
		case !opts.bind && c.facts.UID != 0:
			rule = c.ownerRule(o)
		}
		if rule != "" {
			c.add(element(element("mounts", i)+".options", j), refMountOptions, rule)
		}
	}
}

// ownerRule asks that uid= and gid= of a rootless container name ids that exist in it:
// the kernel refuses others with a bare EINVAL.
func (c *checker) ownerRule(option string) string {
	name, value, _ := strings.Cut(option, "=")
	if name != "uid" && name != "gid" {
		return ""
	}
	id, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return ""
	}
	list := c.linux.UIDMappings
	if name == "gid" {
		list = c.linux.GIDMappings
	}
	if !c.ns.creates(nsUser) || mapped(list, uint32(id)) {
		return ""
	}
	return quote(option) + " names an id that the user namespace does not map"
}

// idmapped checks a mount that asks for a mapping of owners, by option or by mappings.
func (c *checker) idmapped(m *specs.Mount, i int, opts *mountOptions) {
	at := element("mounts", i)
	add := func(field, rule string) { c.add(at+field, refPOSIXMounts, rule) }
	if !opts.bind {
		add("", "is idmapped, only a bind mount can be")
	}
	if c.facts.UID != 0 {
		add("", "is idmapped, rootless containers cannot have that")
	}
	if opts.mapping > 0 {
		c.optionMapping(m, element(at+".options", opts.mapping-1), m.Options[opts.mapping-1])
	}
	switch {
	case opts.mapping > 0:
	case m.UIDMappings == nil && m.GIDMappings == nil:
		if !c.ns.has(nsUser) {
			add("", "is idmapped, must have uidMappings and gidMappings when there is no user namespace")
		}
	case len(m.UIDMappings) == 0:
		add(".uidMappings", "must not be empty beside gidMappings")
	case len(m.GIDMappings) == 0:
		add(".gidMappings", "must not be empty beside uidMappings")
	}
	c.mappings(at+".uidMappings", refPOSIXMounts, m.UIDMappings)
	c.mappings(at+".gidMappings", refPOSIXMounts, m.GIDMappings)
}

// optionMapping checks a mapping that is written into the option itself, as crun takes it.
func (c *checker) optionMapping(m *specs.Mount, at, option string) {
	if m.UIDMappings != nil || m.GIDMappings != nil {
		c.add(at, refMountOptions, "has a mapping, which the mount's uidMappings and gidMappings have, too")
		return
	}
	o, _ := idmap.Cut(option)
	uids, gids, err := idmap.Parse(o.Value, c.linux.UIDMappings, c.linux.GIDMappings)
	if err != nil {
		c.add(at, refMountOptions, err.Error())
		return
	}
	c.mappings(at+" uids", refMountOptions, uids)
	c.mappings(at+" gids", refMountOptions, gids)
}

// symlinkOptions checks crun's options for bind mounts whose source or target is a symlink.
func (c *checker) symlinkOptions(i int, opts *mountOptions) {
	for _, o := range [...]struct {
		at   int
		name string
	}{{opts.srcNoFollow, "src-nofollow"}, {opts.destNoFollow, "dest-nofollow"}, {opts.copySymlink, "copy-symlink"}} {
		if o.at == 0 {
			continue
		}
		at := element(element("mounts", i)+".options", o.at-1)
		if !opts.bind || opts.remount {
			c.add(at, refMountOptions, o.name+" is for bind mounts")
		}
		if o.at != opts.copySymlink && opts.copySymlink > 0 {
			c.add(at, refMountOptions, o.name+" and copy-symlink exclude each other")
		}
	}
	if opts.copySymlink > 0 && opts.idmap {
		c.add(element(element("mounts", i)+".options", opts.copySymlink-1), refMountOptions, "copy-symlink can't be idmapped")
	}
}
