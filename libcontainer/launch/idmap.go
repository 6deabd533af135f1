package launch

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// writeIDMaps gives the child's user namespace its ids, user_namespaces(7).
func (p *Process) writeIDMaps(op *plan.Op, a *plan.WriteIDMaps) error {
	wrap := func(call string, err error) error {
		if err == nil {
			return nil
		}
		return &Error{Field: op.Field, Op: op.Do, Call: call, Errno: err}
	}
	if a.Helpers {
		if err := p.mapWith("newuidmap", a.UIDs); err != nil {
			return wrap("newuidmap", err)
		}
		if err := p.mapWith("newgidmap", a.GIDs); err != nil {
			return wrap("newgidmap", err)
		}
		return wrap("open ns/user", p.keepUserNS())
	}
	if a.DenySetgroups {
		// Kernels before 3.19 have no such file, and no such rule.
		if err := p.writeProc("setgroups", "deny"); err != nil && !errors.Is(err, unix.ENOENT) {
			return wrap("write setgroups", err)
		}
	}
	if err := p.writeProc("gid_map", mapLines(a.GIDs)); err != nil {
		return wrap("write gid_map", err)
	}
	if err := p.writeProc("uid_map", mapLines(a.UIDs)); err != nil {
		return wrap("write uid_map", err)
	}
	return wrap("open ns/user", p.keepUserNS())
}

func mapLines(m []plan.IDMapping) string {
	var b strings.Builder
	for i := range m {
		b.WriteString(m[i].String() + "\n")
	}
	return b.String()
}

// mapWith runs newuidmap(1) or newgidmap(1), which may map what /etc/subuid grants.
func (p *Process) mapWith(tool string, m []plan.IDMapping) error {
	args := []string{strconv.Itoa(p.PID)}
	for i := range m {
		args = append(args, strings.Fields(m[i].String())...)
	}
	out, err := exec.Command(tool, args...).CombinedOutput() //nolint:forbidigo // the one way to ranges for a user without rights
	if err != nil {
		return errors.Join(err, errors.New(strings.TrimSpace(string(out))))
	}
	return nil
}
