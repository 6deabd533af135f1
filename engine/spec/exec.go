package spec

import (
	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/host"
)

// Exec makes the process of a further program in a running container, from the spec that it runs with. User counts when
// the request or the container's config names one. The request's ConsoleSize is the one to use: a start may bring a
// newer one than the create.
func Exec(c *container.Container, s *specs.Spec, req api.ExecCreateRequest, u User, facts host.Facts) (*specs.Process, error) {
	p := *s.Process
	p.Args = req.Cmd
	p.Env = replaceEnv(environment(c, req.Tty, nil), req.Env)
	p.Terminal = req.Tty
	p.Cwd = req.WorkingDir
	if p.Cwd == "" {
		p.Cwd = c.Config.WorkingDir
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	p.ConsoleSize = nil
	if req.Tty && req.ConsoleSize != nil {
		p.ConsoleSize = &specs.Box{Height: req.ConsoleSize[0], Width: req.ConsoleSize[1]}
	}
	if req.User != "" || c.Config.User != "" {
		umask := p.User.Umask
		p.User = processUser(u)
		p.User.Umask = umask
	}
	if req.Privileged {
		// More capabilities, but the container's seccomp and AppArmor profiles stay, as with dockerd.
		p.Capabilities = granted(facts.Capabilities)
	}
	return &p, nil
}
