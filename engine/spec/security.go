package spec

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux/label"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/host"
)

const (
	unconfined     = "unconfined"
	builtinProfile = "builtin"
)

// security is what SecurityOpt says.
type security struct {
	noNewPrivileges bool
	writableCgroups *bool
	labels          []string // of SELinux
	appArmor        string
	seccomp         string // a word or a whole profile in JSON, as the CLI sends it
}

// parseSecurity reads the options: "name", "name=value", and of old "name:value". Clients know the words of its errors,
// numbers and all.
func parseSecurity(options []string, noNewPrivileges bool) (security, error) {
	s := security{noNewPrivileges: noNewPrivileges}
	for _, o := range options {
		switch o {
		case "no-new-privileges":
			s.noNewPrivileges = true
			continue
		case "writable-cgroups":
			yes := true
			s.writableCgroups = &yes
			continue
		case "disable":
			s.labels = append(s.labels, "disable")
			continue
		}
		name, value, ok := strings.Cut(o, "=")
		if !ok {
			name, value, ok = strings.Cut(o, ":")
		}
		if !ok {
			return security{}, fmt.Errorf("invalid --security-opt 1: %q", o)
		}
		if !s.set(name, value) {
			return security{}, fmt.Errorf("invalid --security-opt 2: %q", o)
		}
	}
	return s, nil
}

// set takes one option; false when there is none of that name, or not with that value.
func (s *security) set(name, value string) bool {
	switch name {
	case "label":
		s.labels = append(s.labels, value)
	case "apparmor":
		s.appArmor = value
	case "seccomp":
		s.seccomp = value
	case "no-new-privileges", "writable-cgroups":
		yes, err := strconv.ParseBool(value)
		if err != nil {
			return false
		}
		if name == "no-new-privileges" {
			s.noNewPrivileges = yes
		} else {
			s.writableCgroups = &yes
		}
	default:
		return false
	}
	return true
}

// Labels are what the kernel's security modules know a container by. They belong in its record.
type Labels struct{ AppArmor, Process, Mount string }

// Confine makes the labels of a new container by its SecurityOpt. With SELinux they are picked so that no other
// container has them.
func Confine(hc *api.HostConfig) (Labels, error) {
	s, err := parseSecurity(hc.SecurityOpt, false)
	if err != nil {
		return Labels{}, err
	}
	l := Labels{AppArmor: s.appArmor}
	if l.Process, l.Mount, err = label.InitLabels(s.labels); err != nil {
		return Labels{}, err
	}
	return l, nil
}

// appArmorProfile is the container's; empty where the kernel has no AppArmor.
func appArmorProfile(c *container.Container, s security, enabled bool) string {
	switch {
	case !enabled:
		return ""
	case s.appArmor != "":
		return s.appArmor
	case c.AppArmorProfile != "":
		return c.AppArmorProfile
	case c.HostConfig.Privileged:
		return unconfined
	}
	return host.AppArmorProfile
}

// seccompProfile says which system calls are allowed: the container's own profile, else the engine's.
func seccompProfile(in *Input, s security, spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	profile := s.seccomp
	if profile == "" && !in.Container.HostConfig.Privileged {
		if profile = in.Defaults.SeccompProfile; profile == "" {
			profile = builtinProfile
		} else if profile != builtinProfile && profile != unconfined {
			profile = string(in.Defaults.SeccompJSON)
		}
	}
	switch {
	case profile == "" || profile == unconfined:
		return nil, nil // no profile is an answer
	case !in.Facts.Seccomp && s.seccomp != "" && s.seccomp != builtinProfile:
		return nil, errors.New("seccomp is not enabled in your kernel, cannot run a custom seccomp profile")
	case !in.Facts.Seccomp:
		return nil, nil // nothing to run it with, as dockerd warns
	case profile == builtinProfile:
		return seccomp.GetDefaultProfile(spec)
	}
	return seccomp.LoadProfile(profile, spec)
}
