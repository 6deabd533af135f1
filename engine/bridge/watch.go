package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// again is how long it takes to listen again, when the kernel had more to tell than there was room for.
const again = 100 * time.Millisecond

// Watch tells the names of devices that went away or down, until the context ends. An empty name stands for all: some
// may have been missed.
func (d *Devices) Watch(ctx context.Context, lost func(name string)) {
	for ctx.Err() == nil {
		if err := d.listen(ctx, lost); err != nil && ctx.Err() == nil {
			slog.Warn("changes of network devices may be missed", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

func (d *Devices) listen(ctx context.Context, lost func(name string)) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	failed := make(chan error, 1)
	err := d.onThread(func() error {
		return netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ErrorCallback: func(err error) {
			select {
			case failed <- err:
			default:
			}
		}})
	})
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // its sender waits for nobody else
			continue
		}
	}()
	lost("")
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if errors.Is(err, unix.EBADF) {
				return nil
			}
			return err
		case u, ok := <-updates:
			if !ok {
				return errors.New("netlink: the subscription ended")
			}
			if u.Header.Type == unix.RTM_DELLINK || u.Attrs().Flags&net.FlagUp == 0 {
				lost(u.Attrs().Name)
			}
		}
	}
}
