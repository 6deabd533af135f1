package plan

// netDevices moves devices of the host in, before any hook: a hook may configure them.
func (c *compiler) netDevices() {
	if len(c.linux.NetDevices) == 0 {
		return
	}
	c.add(Child, "linux.netDevices", &OpenNetlink{})
	for _, name := range sortedKeys(c.linux.NetDevices) {
		inside := c.linux.NetDevices[name].Name
		if inside == "" {
			inside = name
		}
		c.add(Runtime, "linux.netDevices["+name+"]", &MoveNetDevice{Name: name, NewName: inside})
	}
}
