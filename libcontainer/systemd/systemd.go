// Package systemd has a service manager, the system's or a user's, make and stop the scope
// of a container. It speaks D-Bus itself, as much as that takes: any library for it costs
// every start, systemd or not (docs/decisions/0017).
//
// It asks little of the manager: one call makes a scope, at most one stops it. The
// connection is to the manager's own socket, where no bus stands between and none has to be
// told about signals; the bus is the fallback.
package systemd

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// timeout is how long the manager may take for one thing, as long as runc waits.
const timeout = 30 * time.Second

// ErrNotRunning says that no service manager is there.
var ErrNotRunning = errors.New("systemd is not running as the service manager here")

// The names that systemd answers to, org.freedesktop.systemd1(5).
const (
	service    = "org.freedesktop.systemd1"
	noSuchUnit = "org.freedesktop.systemd1.NoSuchUnit"
	unitExists = "org.freedesktop.systemd1.UnitExists"

	systemSocket = "/run/systemd/private"
)

// Manager is a connection to a service manager.
type Manager struct{ conn *conn }

// Booted reports whether the system was booted by systemd, sd_booted(3).
func Booted() bool {
	var st unix.Stat_t
	return unix.Lstat("/run/systemd/system", &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// OwnsSystem reports whether the caller may speak to the system's manager directly. Root of
// a user namespace may when the namespace has a systemd of its own.
func OwnsSystem() bool { return unix.Access(systemSocket, unix.W_OK) == nil }

// Open connects to the system's manager, or to the user's own. The error is ErrNotRunning
// when there is none.
func Open(user bool) (*Manager, error) {
	private, bus := systemSocket, "/run/dbus/system_bus_socket"
	if user {
		private, bus = userSockets(os.Getenv("XDG_RUNTIME_DIR"), os.Getenv("DBUS_SESSION_BUS_ADDRESS"))
	}
	var errs []error
	for _, address := range []string{private, bus} {
		if address == "" {
			continue
		}
		c, err := dial(address, timeout)
		if err == nil && address == bus {
			err = subscribe(c)
		}
		if err == nil {
			return &Manager{c}, nil
		}
		if !errors.Is(err, unix.ENOENT) { // whose text would pass for a missing program
			errs = append(errs, fmt.Errorf("connect to %s: %w", address, err))
		}
	}
	if len(errs) == 0 && user {
		return nil, fmt.Errorf("%w for this user ($XDG_RUNTIME_DIR/systemd, $DBUS_SESSION_BUS_ADDRESS)", ErrNotRunning)
	}
	if len(errs) == 0 {
		return nil, ErrNotRunning
	}
	return nil, errors.Join(errs...)
}

// userSockets are where a user's manager and bus listen.
func userSockets(runtimeDir, busAddresses string) (private, bus string) {
	bus = busAddress(busAddresses)
	if strings.HasPrefix(runtimeDir, "/") {
		private = runtimeDir + "/systemd/private"
		if bus == "" {
			bus = runtimeDir + "/bus"
		}
	}
	return private, bus
}

// subscribe joins a bus and asks for the signals that end jobs; the manager's own socket
// needs neither.
func subscribe(c *conn) error {
	const bus = "org.freedesktop.DBus"
	if _, err := c.call(method{bus, "/org/freedesktop/DBus", bus, "Hello"}); err != nil {
		return err
	}
	rule := "type='signal',sender='" + service + "',interface='" + service + ".Manager',member='JobRemoved'"
	if _, err := c.call(method{bus, "/org/freedesktop/DBus", bus, "AddMatch"}, gvariant.String(rule)); err != nil {
		return err
	}
	_, err := c.call(manager("Subscribe"))
	return err
}

func manager(name string) method {
	return method{service, "/org/freedesktop/systemd1", service + ".Manager", name}
}

// Close ends the connection.
func (m *Manager) Close() { m.conn.close() }

// properties is a list of them as the bus has it.
func properties(list []plan.Property) gvariant.Value {
	items := make([]gvariant.Value, len(list))
	for i := range list {
		items[i] = gvariant.Struct(gvariant.String(list[i].Name), gvariant.Variant(list[i].Value))
	}
	return gvariant.Array("(sv)", items...)
}

// StartScope makes a scope with a process in it, and returns when it is there.
func (m *Manager) StartScope(name string, list []plan.Property, pid int) error {
	m.conn.within(timeout)
	list = append(slices.Clip(list), plan.Property{Name: "PIDs", Value: gvariant.Array("u", gvariant.Uint32(uint32(pid)))})
	reset := false
	for {
		path, err := m.startTransient(name, list)
		var refused *Error
		switch {
		case err == nil:
			return m.finish(name, path)
		case !errors.As(err, &refused):
			return err
		case refused.Name == unitExists && !reset:
			// One that failed long ago may only be in the way.
			reset = true
			_, _ = m.conn.call(manager("ResetFailedUnit"), gvariant.String(name))
			continue
		}
		shorter := withoutRefused(list, refused.Message)
		if len(shorter) == len(list) {
			return err
		}
		list = shorter
	}
}

func (m *Manager) startTransient(name string, list []plan.Property) (job string, err error) {
	reply, err := m.conn.call(manager("StartTransientUnit"),
		gvariant.String(name), gvariant.String("fail"), properties(list), gvariant.Array("(sa(sv))"))
	if err != nil {
		return "", err
	}
	return objectPath(reply)
}

func objectPath(reply []gvariant.Value) (string, error) {
	if len(reply) != 1 || reply[0].Type != "o" {
		return "", errMalformed
	}
	return reply[0].Text, nil
}

// finish waits for a job that must be done.
func (m *Manager) finish(name, job string) error {
	result, err := m.conn.wait(job)
	if err != nil {
		return fmt.Errorf("start of %s: %w", name, err)
	}
	if result != "done" {
		return fmt.Errorf("start of %s: the job ended as %q", name, result)
	}
	return nil
}

// withoutRefused leaves out a property that this systemd is too old for, when the message
// of its error names one that the scope can do without.
func withoutRefused(list []plan.Property, message string) []plan.Property {
	var rest []plan.Property
	for i := range list {
		if !list[i].MayMiss || !hasWord(message, list[i].Name) {
			rest = append(rest, list[i])
		}
	}
	return rest
}

func hasWord(text, word string) bool {
	for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return r < 'A' || r > 'z' }) {
		if w == word {
			return true
		}
	}
	return false
}

// SetProperties changes limits of a container's unit as systemd knows them: with files alone
// the next daemon-reload takes the change back. The files come afterwards, as they are exact.
// On cgroup v1 systemd denies the unit all devices for a moment meanwhile.
func SetProperties(unit string, user bool, list []plan.Property) error {
	if len(list) == 0 {
		return nil
	}
	m, err := Open(user)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.SetProperties(unit, list)
}

// SetProperties changes properties of a unit until it ends.
func (m *Manager) SetProperties(name string, list []plan.Property) error {
	m.conn.within(timeout)
	for len(list) > 0 {
		_, err := m.conn.call(manager("SetUnitProperties"), gvariant.String(name), gvariant.Bool(true), properties(list))
		var refused *Error
		if !errors.As(err, &refused) {
			return err
		}
		shorter := withoutRefused(list, refused.Message)
		if len(shorter) == len(list) {
			return err
		}
		list = shorter
	}
	return nil
}

// Attach moves a process into a unit's cgroup, or the one below it at sub, where the caller may not do so itself: the
// way from one part of the hierarchy to another leads over what belongs to root.
func (m *Manager) Attach(name, sub string, pid int) error {
	m.conn.within(timeout)
	_, err := m.conn.call(manager("AttachProcessesToUnit"),
		gvariant.String(name), gvariant.String(sub), gvariant.Array("u", gvariant.Uint32(uint32(pid))))
	return err
}

// HasProcesses reports whether there are any in a unit. One that is gone has none.
func (m *Manager) HasProcesses(name string) (bool, error) {
	m.conn.within(timeout)
	reply, err := m.conn.call(manager("GetUnitProcesses"), gvariant.String(name))
	if refused, ok := errors.AsType[*Error](err); ok && refused.Name == noSuchUnit {
		return false, nil
	}
	if err != nil || len(reply) != 1 {
		return true, err
	}
	return len(reply[0].Items) > 0, nil
}

// Kill kills every process of a unit, and stops it.
func (m *Manager) Kill(name string) error {
	m.conn.within(timeout)
	sigkill := gvariant.Value{Type: "i", Bits: uint64(unix.SIGKILL)}
	_, err := m.conn.call(manager("KillUnit"), gvariant.String(name), gvariant.String("all"), sigkill)
	var refused *Error
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	return m.Stop(name) // which says what became of a unit that could not be killed
}

// Stop stops a unit and returns when it is gone. One that is gone already is fine.
func (m *Manager) Stop(name string) error {
	m.conn.within(timeout)
	reply, err := m.conn.call(manager("StopUnit"), gvariant.String(name), gvariant.String("replace"))
	var refused *Error
	if errors.As(err, &refused) && refused.Name == noSuchUnit {
		return nil
	}
	if err != nil {
		return err
	}
	job, err := objectPath(reply)
	if err != nil {
		return err
	}
	// How the job ended does not matter: what remains is seen in the cgroup.
	_, err = m.conn.wait(job)
	return err
}
