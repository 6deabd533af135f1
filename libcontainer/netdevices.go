package libcontainer

import (
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/netdev"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// moveNetDevice moves a device of the host into the container. Until the container exists it
// can be fetched back.
func (c *creation) moveNetDevice(a *plan.MoveNetDevice, p *launch.Process) error {
	if c.devices == nil {
		var err error
		if c.devices, err = netdev.Open(p.PID, p.Netlink); err != nil {
			return err
		}
		c.stop = append(c.stop, c.devices.Close)
	}
	return c.devices.Move(a.Name, a.NewName)
}

// returnNetDevices takes the devices of a container that did not come to be back to the host.
func (c *creation) returnNetDevices() error {
	if c.devices == nil {
		return nil
	}
	return c.devices.Restore()
}
