package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Codes of errors that CNI's specification has; those of the plug-in's own begin at 100.
const (
	codeVersion     = 1
	codeEnvironment = 4
	codeConfig      = 7
	codeAgain       = 11
	codeEngine      = 100
)

// supported are the specification's versions. BuildKit asks for loopback by 0.3.1.
var supported = []string{"0.3.1", "0.4.0", version}

// patience is for a question, and for its answer.
const patience = time.Minute

// Invoked says that a program was run as the plug-in, by its name.
func Invoked(program string) bool {
	name := filepath.Base(program)
	return (name == pluginName || name == loopbackName) && os.Getenv("CNI_COMMAND") != ""
}

// Main is the plug-in. It returns an exit code.
func Main(program string) int {
	p := plugin{name: filepath.Base(program), env: os.Getenv}
	return p.run(os.Stdin, os.Stdout, os.Stderr)
}

// plugin is one call.
type plugin struct {
	name   string
	env    func(string) string
	config config
}

// fault is an error as CNI wants it.
type fault struct {
	Version string `json:"cniVersion"`
	Code    int    `json:"code"`
	Text    string `json:"msg"`
}

// Error implements error.
func (f fault) Error() string { return f.Text }

func faultf(code int, format string, args ...any) error {
	return fault{Code: code, Text: fmt.Errorf(format, args...).Error()}
}

func (p *plugin) run(in io.Reader, out, notes io.Writer) int {
	say, err := p.call(in, notes)
	status := 0
	if err != nil {
		f, ok := errors.AsType[fault](err)
		if !ok {
			f = fault{Code: codeEngine, Text: err.Error()}
		}
		f.Version, status = p.config.Version, 1
		say = f
	}
	if say == nil {
		return status
	}
	if err := json.NewEncoder(out).Encode(say); err != nil {
		return 1
	}
	return status
}

// call is what is to be said; nil for nothing.
func (p *plugin) call(in io.Reader, notes io.Writer) (any, error) {
	p.config.Version = version
	if err := json.NewDecoder(in).Decode(&p.config); err != nil {
		return nil, faultf(codeConfig, "configuration: %w", err)
	}
	r := request{Command: p.env("CNI_COMMAND"), Step: p.env("CNI_CONTAINERID"), Namespace: p.env("CNI_NETNS"), Device: p.env("CNI_IFNAME")}
	if r.Command == "VERSION" {
		return struct {
			Version   string   `json:"cniVersion"`
			Supported []string `json:"supportedVersions"`
		}{p.config.Version, supported}, nil
	}
	if !slices.Contains(supported, p.config.Version) {
		return nil, faultf(codeVersion, "CNI %s is not supported", p.config.Version)
	}
	if err := r.complete(); err != nil {
		return nil, err
	}
	if p.name == loopbackName {
		return p.loopback(r)
	}
	a, err := p.ask(r, notes)
	if err != nil || a == nil || a.Result == nil {
		return nil, err
	}
	a.Result.Version = p.config.Version
	return a.Result, nil
}

// complete says which variable is missing.
func (r request) complete() error {
	needs := map[string]string{"CNI_CONTAINERID": r.Step, "CNI_IFNAME": r.Device, "CNI_NETNS": r.Namespace}
	switch r.Command {
	case "ADD", "CHECK":
	case "DEL":
		delete(needs, "CNI_NETNS")
	default:
		return faultf(codeEnvironment, "CNI_COMMAND: %q is none of ADD, DEL, CHECK and VERSION", r.Command)
	}
	for name, value := range needs {
		if value == "" {
			return faultf(codeEnvironment, "%s is missing", name)
		}
	}
	return nil
}

// loopback does nothing: the engine sets it up together with the rest.
func (p *plugin) loopback(r request) (any, error) {
	if r.Command != "ADD" {
		return nil, nil //nolint:nilnil // there is nothing to say
	}
	return &result{Version: p.config.Version, Interfaces: []device{{Name: r.Device, Sandbox: r.Namespace}}}, nil
}

// ask is the engine's answer; nil when there is nobody to take anything away: the next engine does.
func (p *plugin) ask(r request, notes io.Writer) (*answer, error) {
	conn, err := net.Dial("unix", p.config.Engine)
	if err != nil && r.Command == "DEL" {
		fmt.Fprintf(notes, "the network of step %s is left to the next engine: %v\n", r.Step, err)
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, faultf(codeAgain, "the engine is not there: %w", err)
	}
	defer conn.Close()
	a := &answer{}
	err = conn.SetDeadline(time.Now().Add(patience))
	if err == nil {
		err = json.NewEncoder(conn).Encode(r)
	}
	if err == nil {
		err = json.NewDecoder(conn).Decode(a)
	}
	if err != nil {
		return nil, faultf(codeAgain, "the engine does not answer: %w", err)
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return a, nil
}
