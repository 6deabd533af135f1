package plan

import specs "github.com/opencontainers/runtime-spec/specs-go"

const intelRdtField = "linux.intelRdt"

// defaultClosID names the class of service that everything is in by default.
const defaultClosID = "/"

// resctrl makes the container's class of service before there is a process, by the rules of
// config-linux.md "IntelRdt".
func (c *compiler) resctrl() {
	r := c.linux.IntelRdt
	if r == nil {
		return
	}
	if c.Facts.Resctrl == "" {
		c.fail(intelRdtField, "Intel RDT is not available: no resctrl file system is mounted")
		return
	}
	group := c.resctrlGroup()
	c.add(Runtime, intelRdtField, group)
	for _, w := range schemata(r) {
		w.write.Group = group.Dir()
		c.add(Runtime, w.field, w.write)
	}
}

// joinResctrl comes while the child waits for the runtime anyway, before it runs anything.
func (c *compiler) joinResctrl() {
	if c.linux.IntelRdt == nil || c.Facts.Resctrl == "" {
		return
	}
	group := c.resctrlGroup()
	c.add(Runtime, intelRdtField, &JoinResctrlGroup{Group: group.Dir(), Monitor: group.MonitorDir()})
}

func (c *compiler) resctrlGroup() *MakeResctrlGroup {
	r := c.linux.IntelRdt
	g := &MakeResctrlGroup{Root: c.Facts.Resctrl, Name: r.ClosID}
	switch r.ClosID {
	case "":
		g.Name, g.Own = c.ID, true
	case defaultClosID:
		g.Name = ""
	}
	if r.ClosID != "" {
		g.MustExist = len(schemata(r)) == 0
		for _, line := range []string{r.L3CacheSchema, r.MemBwSchema} {
			if line != "" {
				g.Match = append(g.Match, line)
			}
		}
	}
	if r.EnableMonitoring {
		g.Monitor = c.ID
	}
	return g
}

// schemataWrite is what one field asks to be written.
type schemataWrite struct {
	field string
	write *WriteSchemata
}

// schemata are separate writes in the order that the spec demands: the kernel refuses a
// resource that occurs twice in one.
func schemata(r *specs.LinuxIntelRdt) []schemataWrite {
	var list []schemataWrite
	add := func(field string, lines []string) {
		kept := make([]string, 0, len(lines))
		for _, line := range lines {
			if line != "" {
				kept = append(kept, line)
			}
		}
		if len(kept) > 0 {
			list = append(list, schemataWrite{intelRdtField + "." + field, &WriteSchemata{Lines: kept}})
		}
	}
	add("l3CacheSchema", []string{r.L3CacheSchema})
	add("memBwSchema", []string{r.MemBwSchema})
	add("schemata", r.Schemata)
	return list
}
