package libcontainer_test

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer"
)

// A container's life: it is made, started, waited for and deleted.
func ExampleRuntime() {
	status, err := live(&libcontainer.Runtime{Root: "/run/my-program"}, "/var/lib/my-program/bundle", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("exit status", status)
}

// live runs the bundle's process to its end. A container that was created exists until it
// is deleted, whatever happens to it meanwhile.
func live(r *libcontainer.Runtime, bundle, id string) (status int, err error) {
	if err := r.Create(&libcontainer.CreateOptions{ID: id, Bundle: bundle}); err != nil {
		return 0, err
	}
	defer func() {
		if deleteErr := r.Delete(id, true); err == nil {
			err = deleteErr
		}
	}()
	info, err := r.State(id)
	if err != nil {
		return 0, err
	}
	if err := r.Start(id, ""); err != nil {
		return 0, err
	}
	var ws unix.WaitStatus // the process is this program's child
	if _, err := unix.Wait4(info.PID, &ws, 0, nil); err != nil {
		return 0, err
	}
	return ws.ExitStatus(), nil
}
