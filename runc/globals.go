package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

const defaultRoot = "/run/runc"

func globalFlags() []cli.Flag {
	return []cli.Flag{
		boolFlag("log every operation of a new process, and warnings in JSON logs too", "debug"),
		&cli.StringFlag{Name: "log", Usage: "append the log to `FILE` (default: stderr)"},
		&cli.StringFlag{Name: "log-level", Value: "warning", Usage: "log no more than `error`, warning or debug"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`text` or json"},
		&cli.StringFlag{Name: "root", Value: defaultRoot, Usage: "`DIR` of the containers' states; a user without privileges has it in $XDG_RUNTIME_DIR"},
		boolFlag("let systemd make the cgroups; cgroupsPath is then slice:prefix:name", "systemd-cgroup"),
		&cli.StringFlag{Name: "cgroup-manager", Usage: "who makes the cgroups: `cgroupfs`, systemd, or disabled for no cgroup at all"},
		&cli.StringFlag{Name: "rootless", Value: "auto", Usage: "do without cgroups that can't be had: `true`, false or auto"},
	}
}

// before turns the global flags into the logger and the runtime that all commands use.
func (p *program) before(c *cli.Context) (err error) {
	if err := p.openLog(c); err != nil {
		return err
	}
	p.rootless = c.String("rootless")
	if _, _, err := parseRootless(p.rootless); err != nil {
		return err
	}
	if p.runtime.Driver, err = cgroupDriver(c.Bool("systemd-cgroup"), c.String("cgroup-manager")); err != nil {
		return err
	}
	p.rootGiven = c.IsSet("root")
	if p.rootGiven {
		return p.setRoot(c.String("root"))
	}
	return p.setDefaultRoot()
}

// cgroupDriver reads the two flags that choose it: runc's, and crun's.
func cgroupDriver(systemd bool, manager string) (plan.Driver, error) {
	var d plan.Driver
	switch manager {
	case "", "cgroupfs":
	case string(plan.DriverSystemd), string(plan.DriverNone):
		d = plan.Driver(manager)
	default:
		return d, fault.Usage.Atf("--cgroup-manager", "%q is not cgroupfs, systemd or disabled", manager)
	}
	if systemd && manager != "" && d != plan.DriverSystemd {
		return d, fault.Usage.Of("--cgroup-manager", fmt.Errorf("--systemd-cgroup and --cgroup-manager %s contradict each other", manager))
	}
	if systemd {
		d = plan.DriverSystemd
	}
	return d, nil
}

func (p *program) openLog(c *cli.Context) error {
	switch format := c.String("log-format"); format {
	case "text":
	case "json":
		p.log.json = true
	default:
		return fault.Usage.Of("--log-format", fmt.Errorf(compatLogFormat, format))
	}
	p.log.debug = c.Bool("debug")
	switch level := c.String("log-level"); level {
	case "warning":
	case "error":
		p.log.quiet = true
	case "debug":
		p.log.debug = true
	default:
		return fault.Usage.Atf("--log-level", "%q is not error, warning or debug", level)
	}
	if p.log.debug {
		p.runtime.Debug = p.log.trace
	}
	return p.log.open(c.String("log"))
}

func (p *program) setRoot(dir string) error {
	root, err := absolute(dir)
	if err != nil {
		return fault.FlagFailed.At("--root", err)
	}
	if root == "/" {
		return fault.Usage.Of("--root", errors.New("option --root argument should not be set to /"))
	}
	p.runtime.Root = root
	return nil
}

// setDefaultRoot takes /run/runc, or a directory of the user's own for who may not write there.
func (p *program) setDefaultRoot() error {
	p.runtime.Root = defaultRoot
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" || !ownRuntimeDir() {
		return nil
	}
	root := filepath.Join(base, "runc")
	// Sticky: the cleaners of XDG_RUNTIME_DIR leave such entries alone (XDG base directory spec).
	err := os.MkdirAll(root, 0o700)
	if err == nil {
		err = os.Chmod(root, 0o700|os.ModeSticky)
	}
	if err != nil {
		return fault.StateFailed.Errorf("$XDG_RUNTIME_DIR must be writable by the user: %w", err)
	}
	return p.setRoot(root)
}

// ownRuntimeDir reports whether $XDG_RUNTIME_DIR is the caller's: not that of the real
// root, nor of a user who is called root inside a user namespace.
func ownRuntimeDir() bool {
	if unix.Geteuid() != 0 {
		return true
	}
	return inUserNamespace() && os.Getenv("USER") != "root"
}

// parseRootless reads --rootless; auto is true when the machine is to be asked.
func parseRootless(s string) (rootless, auto bool, err error) {
	if s == "" || strings.EqualFold(s, "auto") {
		return false, true, nil
	}
	rootless, err = strconv.ParseBool(s)
	if err != nil {
		return false, false, fault.Usage.Atf("--rootless", "%q is not true, false or auto", s)
	}
	return rootless, false, nil
}

// decideRootless sets what only the commands that make processes need to know.
func (p *program) decideRootless() {
	rootless, auto, _ := parseRootless(p.rootless) // before has seen it parse
	if auto {
		rootless = unix.Geteuid() != 0 || inUserNamespace()
	}
	p.runtime.Rootless = rootless
}

// inUserNamespace reports whether ids are mapped here: the initial namespace's map is
// the identity over all ids, user_namespaces(7).
func inUserNamespace() bool {
	fd, err := unix.Open("/proc/self/uid_map", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // a kernel without user namespaces
	}
	defer unix.Close(fd)
	var buf [128]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return false
	}
	words := strings.Fields(string(buf[:n]))
	return len(words) != 3 || words[0] != "0" || words[1] != "0" || words[2] != "4294967295"
}

// absolute makes path independent of the working directory; "" stays "".
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if path[0] == '/' {
		return filepath.Clean(path), nil
	}
	dir, err := unix.Getwd()
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	return filepath.Join(dir, path), nil
}
