// Package changes applies instructions of a Dockerfile to a container's configuration: what commit and import take as
// --change, and what the classic builder does with instructions that run nothing.
package changes

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"

	"github.com/gantry-containers/gantry/engine/fault"
)

// allowed is the instructions that change nothing but the configuration.
var allowed = []string{
	"cmd", "entrypoint", "healthcheck", "env", "expose", "label", "onbuild", "stopsignal", "user", "volume", "workdir",
}

// Apply is a configuration with instructions applied, each a line or more of a Dockerfile. The one given stays as it is.
func Apply(config *container.Config, lines []string) (*container.Config, error) {
	if len(lines) == 0 {
		return config, nil
	}
	file, err := parser.Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return nil, fault.As(errdefs.ErrInvalidArgument, err)
	}
	var list []instructions.Command
	for _, n := range file.AST.Children {
		if !slices.Contains(allowed, strings.ToLower(n.Value)) {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "%s is not a valid change command", n.Value)
		}
		cmd, err := instructions.ParseCommand(n)
		if err != nil {
			return nil, fault.As(errdefs.ErrInvalidArgument, err)
		}
		list = append(list, cmd)
	}
	c := New(config, file.EscapeToken)
	for _, cmd := range list {
		if _, err := c.Instruction(cmd, nil); err != nil {
			return nil, fault.As(errdefs.ErrInvalidArgument, err)
		}
	}
	return c.Config, nil
}

// Change applies instructions one after the other.
type Change struct {
	Config *container.Config
	lex    *shell.Lex
	// cmdSet says that CMD was among them: an ENTRYPOINT after it leaves it.
	cmdSet bool
}

// New begins with a copy of a configuration. The escape character is the one of the Dockerfile.
func New(config *container.Config, escape rune) *Change {
	return &Change{Config: Clone(config), lex: shell.NewLex(escape)}
}

// Clone is a copy that can be changed.
func Clone(config *container.Config) *container.Config {
	c := *config
	c.Env, c.Cmd, c.Entrypoint = slices.Clone(c.Env), slices.Clone(c.Cmd), slices.Clone(c.Entrypoint)
	c.OnBuild, c.Shell = slices.Clone(c.OnBuild), slices.Clone(c.Shell)
	c.ExposedPorts, c.Volumes, c.Labels = maps.Clone(c.ExposedPorts), maps.Clone(c.Volumes), maps.Clone(c.Labels)
	return &c
}

// Instruction applies one instruction, with the build's arguments ("NAME=value") beside the environment. It says no to
// those that do more than change the configuration.
func (c *Change) Instruction(cmd instructions.Command, args []string) (done bool, _ error) {
	env := shell.EnvsFromSlice(append(slices.Clone(c.Config.Env), args...))
	if e, ok := cmd.(instructions.SupportsSingleWordExpansion); ok {
		err := e.Expand(func(word string) (string, error) {
			out, _, err := c.lex.ProcessWord(word, env)
			return out, err
		})
		if err != nil {
			return false, err
		}
	}
	if c.command(cmd) {
		return true, nil
	}
	switch i := cmd.(type) {
	case *instructions.EnvCommand:
		for _, e := range i.Env {
			c.setEnv(e.Key, e.String())
		}
	case *instructions.LabelCommand:
		if c.Config.Labels == nil {
			c.Config.Labels = map[string]string{}
		}
		for _, l := range i.Labels {
			c.Config.Labels[l.Key] = l.Value
		}
	case *instructions.ExposeCommand:
		return true, c.expose(i, env)
	case *instructions.UserCommand:
		c.Config.User = i.User
	case *instructions.VolumeCommand:
		return true, c.volumes(i.Volumes)
	case *instructions.WorkdirCommand:
		return true, c.workdir(i.Path)
	case *instructions.OnbuildCommand:
		c.Config.OnBuild = append(c.Config.OnBuild, i.Expression)
	case *instructions.StopSignalCommand:
		if _, err := signal.ParseSignal(i.Signal); err != nil {
			return true, err
		}
		c.Config.StopSignal = i.Signal
	default:
		return false, nil
	}
	return true, nil
}

// command applies the instructions about what runs.
func (c *Change) command(cmd instructions.Command) (done bool) {
	switch i := cmd.(type) {
	case *instructions.CmdCommand:
		c.Config.Cmd = c.CommandLine(i.ShellDependantCmdLine)
		if len(i.CmdLine) > 0 {
			c.cmdSet = true
		}
	case *instructions.EntrypointCommand:
		c.Config.Entrypoint = c.CommandLine(i.ShellDependantCmdLine)
		if !c.cmdSet {
			c.Config.Cmd = nil
		}
	case *instructions.HealthCheckCommand:
		c.Config.Healthcheck = i.Health
	case *instructions.ShellCommand:
		c.Config.Shell = i.Shell
	default:
		return false
	}
	return true
}

// CommandLine is what an instruction's words run as: in its shell form, by a shell.
func (c *Change) CommandLine(line instructions.ShellDependantCmdLine) []string {
	if !line.PrependShell || line.CmdLine == nil {
		return line.CmdLine
	}
	sh := c.Config.Shell
	if len(sh) == 0 {
		sh = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(sh), line.CmdLine...)
}

func (c *Change) setEnv(key, variable string) {
	for i, v := range c.Config.Env {
		if k, _, _ := strings.Cut(v, "="); k == key {
			c.Config.Env[i] = variable
			return
		}
	}
	c.Config.Env = append(c.Config.Env, variable)
}

func (c *Change) volumes(list []string) error {
	if c.Config.Volumes == nil {
		c.Config.Volumes = map[string]struct{}{}
	}
	for _, v := range list {
		if v == "" {
			return errors.New("VOLUME specified can not be an empty string")
		}
		c.Config.Volumes[v] = struct{}{}
	}
	return nil
}

func (c *Change) workdir(dir string) error {
	if dir == "" {
		return errors.New("cannot normalize nothing")
	}
	if path.IsAbs(dir) {
		c.Config.WorkingDir = path.Clean(dir)
	} else {
		c.Config.WorkingDir = path.Join("/", c.Config.WorkingDir, dir)
	}
	return nil
}

// expose adds ports. A variable may hold several.
func (c *Change) expose(cmd *instructions.ExposeCommand, env shell.EnvGetter) error {
	if c.Config.ExposedPorts == nil {
		c.Config.ExposedPorts = network.PortSet{}
	}
	var all []string
	for _, word := range cmd.Ports {
		ports, err := c.lex.ProcessWords(word, env)
		if err != nil {
			return err
		}
		all = append(all, ports...)
	}
	// As other instructions, it is what it stands for from now on.
	cmd.Ports = all
	for _, p := range all {
		if err := c.exposeOne(p); err != nil {
			return err
		}
	}
	return nil
}

// exposeOne adds a port or a range of them ("80", "80-90/udp"). An address or a port of the host in front means nothing
// here.
func (c *Change) exposeOne(text string) error {
	spec := text[strings.LastIndexByte(text, ':')+1:]
	if spec == "" || strings.HasPrefix(spec, "/") {
		return errors.New("no port specified: " + text + "<empty>")
	}
	number, proto, _ := strings.Cut(spec, "/")
	switch proto = strings.ToLower(proto); proto {
	case "":
		proto = "tcp"
	case "tcp", "udp", "sctp":
	default:
		return errors.New("invalid proto: " + proto)
	}
	r, err := network.ParsePortRange(number + "/" + proto)
	if err != nil {
		return errors.New("invalid containerPort: " + number)
	}
	for p := range r.All() {
		c.Config.ExposedPorts[p] = struct{}{}
	}
	return nil
}
