package plan

import (
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// defaultDevices are those that every container gets, config-linux.md "Default Devices".
var defaultDevices = [...]Device{
	{Path: "/dev/null", Type: 'c', Major: 1, Minor: 3, Mode: 0o666},
	{Path: "/dev/random", Type: 'c', Major: 1, Minor: 8, Mode: 0o666},
	{Path: "/dev/full", Type: 'c', Major: 1, Minor: 7, Mode: 0o666},
	{Path: "/dev/tty", Type: 'c', Major: 5, Minor: 0, Mode: 0o666},
	{Path: "/dev/zero", Type: 'c', Major: 1, Minor: 5, Mode: 0o666},
	{Path: "/dev/urandom", Type: 'c', Major: 1, Minor: 9, Mode: 0o666},
}

// devices provides device nodes and links in /dev, unless the host's /dev is bound
// there: then it is the caller's.
func (c *compiler) devices() {
	if c.devIsBound() {
		return
	}
	bind := c.ns.user() || c.Facts.UserNS
	for _, d := range defaultDevices {
		if !c.configures(d.Path) {
			c.add(Child, "linux.devices", &MakeDevice{Device: d, Bind: bind})
		}
	}
	for i := range c.linux.Devices {
		d := &c.linux.Devices[i]
		c.add(Child, index("linux.devices", i), &MakeDevice{Device: configuredDevice(d), Bind: bind && d.Type != "p"})
	}
	c.add(Child, "linux.devices", &MakeDevLinks{})
}

// protectDev makes a read-only /dev so, once everything is in it.
func (c *compiler) protectDev() {
	if i := c.readonlyDev; i >= 0 {
		c.add(Child, index("mounts", i), &BindMount{
			Index: i, Destination: "/dev", Flags: MountFlags{Set: ReadOnly}, Remount: true,
		})
	}
}

func (c *compiler) devIsBound() bool {
	bound := false
	for i := range c.Spec.Mounts {
		m := &c.Spec.Mounts[i]
		if path.Clean("/"+m.Destination) == "/dev" {
			o := parseMountOptions(m.Options)
			bound = isBind(m, &o)
		}
	}
	return bound
}

// configures reports whether linux.devices names the path itself.
func (c *compiler) configures(p string) bool {
	for i := range c.linux.Devices {
		if path.Clean(c.linux.Devices[i].Path) == p {
			return true
		}
	}
	return false
}

func configuredDevice(d *specs.LinuxDevice) Device {
	dev := Device{Path: path.Clean(d.Path), Type: 'c', Major: d.Major, Minor: d.Minor, Mode: 0o666}
	if strings.HasPrefix(d.Type, "b") || strings.HasPrefix(d.Type, "p") {
		dev.Type = d.Type[0]
	}
	if d.FileMode != nil {
		dev.Mode = uint32(*d.FileMode) & 0o7777
	}
	if d.UID != nil {
		dev.UID = *d.UID
	}
	if d.GID != nil {
		dev.GID = *d.GID
	}
	return dev
}

// terminal gives the process its terminal.
func (c *compiler) terminal() {
	if !c.proc.Terminal {
		return
	}
	c.add(Child, "process.terminal", console(c.proc, c.ns.has("mount")))
	c.add(Child, "process.terminal", &ControlTerminal{})
}

func console(p *specs.Process, mount bool) *Console {
	a := &Console{UID: p.User.UID, Mount: mount}
	if p.ConsoleSize != nil {
		a.Height, a.Width = p.ConsoleSize.Height, p.ConsoleSize.Width
	}
	return a
}
