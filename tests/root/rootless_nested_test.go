package root_test

import (
	"os/exec"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestRootOfAUserNamespaceWithOneID is the runtime as rootless podman has it without
// subordinate ids: called root, in a user namespace in which setgroups(2) is denied.
func TestRootOfAUserNamespaceWithOneID(t *testing.T) {
	r := newRootless(t)
	inside := func(cmd *exec.Cmd) {
		r.become(cmd)
		one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: r.uid, Size: 1}}
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = one, one
		cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: true} // 0, inside
	}
	for name, edit := range map[string]change{
		"a user namespace of its own": func(s *specs.Spec) {
			one := []specs.LinuxIDMapping{{Size: 1}}
			s.Linux.UIDMappings, s.Linux.GIDMappings = one, one
		},
		"the runtime's": func(s *specs.Spec) {
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
			for i, n := range s.Linux.Namespaces {
				if n.Type == specs.UserNamespace {
					s.Linux.Namespaces = append(s.Linux.Namespaces[:i], s.Linux.Namespaces[i+1:]...)
					break
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := r.bundle("id -u; cat /proc/self/setgroups", edit)
			res := r.RunWith(inside, "run", "--bundle", bundle, r.ID("nested"))
			equal(t, "exit code ("+res.Stderr+")", 0, res.Code)
			equal(t, "output", "0\ndeny\n", res.Stdout)
		})
	}
}
