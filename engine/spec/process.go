package spec

import (
	"errors"
	"slices"
	"strings"

	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/container"
)

// process is what runs first in the container.
func process(in *Input, opts security) (*specs.Process, error) {
	c := in.Container
	caps, err := capabilities(c.HostConfig, in.Facts.Capabilities)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal:        c.Config.Tty,
		Args:            append([]string{c.Path}, c.Args...),
		Env:             environment(c, c.Config.Tty, in.LinkEnv),
		Cwd:             c.Config.WorkingDir,
		User:            processUser(in.User),
		Capabilities:    granted(caps),
		Rlimits:         rlimits(c.HostConfig.Ulimits, in.Defaults.Ulimits),
		NoNewPrivileges: opts.noNewPrivileges,
		SelinuxLabel:    c.ProcessLabel,
		ApparmorProfile: appArmorProfile(c, opts, in.Facts.AppArmor),
		OOMScoreAdj:     &c.HostConfig.OomScoreAdj,
	}
	p.User.Umask = c.HostConfig.Umask
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if usesInit(in) {
		if initPath(in) == "" {
			return nil, errors.New("this machine has no docker-init: install one, or tell the engine its path with --init-path")
		}
		p.Args = append([]string{initInside, "--"}, p.Args...)
	}
	if size := c.HostConfig.ConsoleSize; c.Config.Tty && (size[0] > 0 || size[1] > 0) {
		p.ConsoleSize = &specs.Box{Height: size[0], Width: size[1]}
	}
	return p, nil
}

// usesInit says whether an init goes before the program. In another's pid namespace there is an init already.
func usesInit(in *Input) bool {
	hc := in.Container.HostConfig
	if !hc.PidMode.IsPrivate() {
		return false
	}
	if hc.Init != nil {
		return *hc.Init
	}
	return in.Defaults.Init
}

func initPath(in *Input) string {
	if in.Defaults.InitPath != "" {
		return in.Defaults.InitPath
	}
	return in.Facts.InitPath
}

func processUser(u User) specs.User {
	// The group itself is among the additional ones: without it a setgid program could give it up and pass by files that
	// deny it (CVE-2022-36109).
	return specs.User{UID: u.UID, GID: u.GID, AdditionalGids: slices.Concat([]uint32{u.GID}, u.Additional)}
}

// environment is the engine's variables, replaced by the container's own.
func environment(c *container.Container, tty bool, links []string) []string {
	env := []string{"PATH=" + defaultPath, "HOSTNAME=" + c.Config.Hostname}
	if tty {
		env = append(env, "TERM=xterm")
	}
	return replaceEnv(append(env, links...), c.Config.Env)
}

// replaceEnv puts variables over others of the same name. A name without a value takes the variable away.
func replaceEnv(env, with []string) []string {
	env = slices.Clone(env)
	at := make(map[string]int, len(env))
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		at[name] = i
	}
	for _, e := range with {
		name, _, hasValue := strings.Cut(e, "=")
		i, known := at[name]
		switch {
		case known && hasValue:
			env[i] = e
		case known:
			env[i] = ""
		case hasValue:
			env = append(env, e)
		}
	}
	return slices.DeleteFunc(env, func(e string) bool { return e == "" })
}

// rlimits are the container's, and the engine's for what it does not set.
func rlimits(own []*api.Ulimit, defaults map[string]*api.Ulimit) []specs.POSIXRlimit {
	var all []specs.POSIXRlimit
	add := func(name string, u *api.Ulimit) {
		// -1 is for no limit, and is just that as the kernel's number.
		all = append(all, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	for _, u := range own {
		add(u.Name, u)
	}
	for _, name := range sortedKeys(defaults) {
		if !slices.ContainsFunc(own, func(u *api.Ulimit) bool { return u.Name == name }) {
			add(name, defaults[name])
		}
	}
	return all
}
