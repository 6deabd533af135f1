package host

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// cdiDirs are where descriptions of devices are when nothing else is said.
var cdiDirs = []string{"/etc/cdi", "/var/run/cdi"}

// CDI knows devices by names, from descriptions that their makers put into folders. It reads them when it is asked: few
// containers want such devices, and descriptions change.
type CDI struct {
	// Dirs are the folders, those that come later are more important; nil for the usual ones.
	Dirs []string
}

// InjectDevices changes a spec so that the container gets devices by name ("vendor.com/gpu=0").
func (c CDI) InjectDevices(s *specs.Spec, names ...string) (unknown []string, err error) {
	known, err := c.read()
	if err != nil {
		return nil, err
	}
	return known.InjectDevices(s, names...)
}

// ListVendors are the makers of devices that are described. It is empty when nothing can be read.
func (c CDI) ListVendors() []string {
	known, err := c.read()
	if err != nil {
		return nil
	}
	return known.ListVendors()
}

// Devices are the names of what is described. There are none when nothing can be read.
func (c CDI) Devices() []string {
	known, err := c.read()
	if err != nil {
		return nil
	}
	return known.ListDevices()
}

// Folders are where descriptions are looked for.
func (c CDI) Folders() []string {
	if c.Dirs == nil {
		return slices.Clone(cdiDirs)
	}
	return c.Dirs
}

func (c CDI) read() (*cdi.Cache, error) {
	return cdi.NewCache(cdi.WithSpecDirs(c.Folders()...), cdi.WithAutoRefresh(false))
}
