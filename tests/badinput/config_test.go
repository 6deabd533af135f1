package badinput_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestAConfigFileThatIsNone(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	config := filepath.Join(bundle, "config.json")
	for _, c := range []struct {
		name string
		make func() error
		want string
	}{
		{"missing", func() error { return nil }, "JSON specification file config.json not found: " + config + ": no such file or directory"},
		{"empty", func() error { return os.WriteFile(config, nil, 0o644) }, config + " is empty"},
		{"null", func() error { return os.WriteFile(config, []byte("null"), 0o644) }, "config.json: "},
		{"no JSON", func() error { return os.WriteFile(config, []byte("hello\x00"), 0o644) }, "config.json: "},
		{"a list", func() error { return os.WriteFile(config, []byte("[]"), 0o644) }, "config.json: want an object"},
		{"an empty object", func() error { return os.WriteFile(config, []byte("{}"), 0o644) }, "ociVersion: "},
		{"binary", func() error { return os.WriteFile(config, bytes.Repeat([]byte{0xff, 0}, 4096), 0o644) }, "config.json: "},
		{"of 1 GiB", func() error { return errJoin(os.WriteFile(config, nil, 0o644), os.Truncate(config, 1<<30)) }, config + ": 1073741824 bytes, more than the limit"},
		{"nested 100,000 deep", func() error { return os.WriteFile(config, nested("[", 100_000), 0o644) }, "config.json: "},
		{"nested 100,000 deep in a key that nobody knows", func() error {
			return os.WriteFile(config, append([]byte(`{"x":`), nested(`{"a":`, 100_000)...), 0o644)
		}, "config.json: "},
		{"a FIFO", func() error { return unix.Mkfifo(config, 0o644) }, config + " is not a regular file"},
		{"a directory", func() error { return os.Mkdir(config, 0o755) }, config + " is not a regular file"},
		{"a device", func() error { return unix.Mknod(config, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) }, config + " is not a regular file"},
		{"a socket", func() error { return unix.Mknod(config, unix.S_IFSOCK|0o644, 0) }, "open " + config + ": no such device or address"},
		{"a dangling symlink", func() error { return os.Symlink("nowhere", config) }, "JSON specification file config.json not found"},
		{"a symlink to itself", func() error { return os.Symlink("config.json", config) }, "open " + config + ": too many levels of symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			try(t, os.RemoveAll(config))
			try(t, c.make())
			for _, verb := range []string{"create", "run"} {
				refused(at(e, t), c.want, verb, "-b", bundle, id)
			}
		})
	}
}

func errJoin(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func nested(open string, depth int) []byte { return bytes.Repeat([]byte(open), depth) }

func TestABundleThatIsNone(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	dir := t.TempDir()
	write(t, dir+"/file", nil)
	for _, c := range []struct{ name, bundle, want string }{
		{"missing", dir + "/none", "--bundle: chdir " + dir + "/none: no such file or directory"},
		{"a file", dir + "/file", "--bundle: chdir " + dir + "/file: not a directory"},
		{"too long a path", dir + strings.Repeat("/"+strings.Repeat("d", 200), 30), "--bundle: chdir "},
	} {
		t.Run(c.name, func(t *testing.T) { refused(at(e, t), c.want, "create", "-b", c.bundle, id) })
	}
}

func TestATruncatedConfig(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	config := filepath.Join(bundle, "config.json")
	whole, err := os.ReadFile(config)
	try(t, err)
	whole = bytes.TrimSpace(whole)
	for n := 1; n < len(whole); n += len(whole)/40 + 1 {
		write(t, config, whole[:n])
		refused(e, "config.json: ", "create", "-b", bundle, id)
	}
}

// object is a JSON object that a test changes.
type object = map[string]any

// put sets the value at a path such as mounts[0].options; missing objects are made.
func put(o object, path string, value any) {
	var at any = o
	words := strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
	for i, word := range words {
		last := i == len(words)-1
		switch x := at.(type) {
		case object:
			if last {
				x[word] = value
			} else if x[word] == nil {
				x[word] = object{}
			}
			at = x[word]
		case []any:
			n, _ := strconv.Atoi(word)
			if last {
				x[n] = value
			}
			at = x[n]
		}
	}
}

func TestAValueOfTheWrongType(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, func(s *specs.Spec) {
		s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Major: 1, Minor: 3}}
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}}
		s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/true"}}}
	})
	config := filepath.Join(bundle, "config.json")
	whole, err := os.ReadFile(config)
	try(t, err)
	for path, value := range map[string]any{
		"ociVersion":                        1,
		"hostname":                          []any{},
		"domainname":                        object{},
		"annotations":                       "a=b",
		"annotations.key":                   7,
		"process":                           "sh",
		"process.terminal":                  "yes",
		"process.user":                      "root",
		"process.user.uid":                  -1,
		"process.user.gid":                  1 << 32,
		"process.user.umask":                "022",
		"process.user.additionalGids":       "5",
		"process.args":                      "sh",
		"process.args[0]":                   1,
		"process.env":                       object{"PATH": "/bin"},
		"process.cwd":                       true,
		"process.capabilities":              []any{"CAP_KILL"},
		"process.capabilities.bounding":     "CAP_KILL",
		"process.rlimits":                   object{},
		"process.rlimits[0].hard":           "unlimited",
		"process.noNewPrivileges":           0,
		"process.oomScoreAdj":               1.5,
		"process.consoleSize.height":        -5,
		"root":                              "rootfs",
		"root.path":                         1,
		"root.readonly":                     "true",
		"mounts":                            object{},
		"mounts[0]":                         "/proc",
		"mounts[0].options":                 "ro",
		"mounts[1].destination":             []any{"/dev"},
		"hooks":                             []any{},
		"hooks.poststop":                    object{},
		"hooks.poststop[0].timeout":         "10s",
		"hooks.poststop[0].args":            "a b",
		"linux":                             []any{},
		"linux.namespaces":                  object{"pid": ""},
		"linux.namespaces[0].type":          1,
		"linux.uidMappings[0].size":         "65536",
		"linux.devices":                     "/dev/x",
		"linux.devices[0].major":            "1",
		"linux.devices[0].fileMode":         "0666",
		"linux.cgroupsPath":                 1,
		"linux.resources":                   []any{},
		"linux.resources.memory.limit":      "64M",
		"linux.resources.memory.swappiness": -1,
		"linux.resources.cpu.shares":        -1,
		"linux.resources.cpu.quota":         1e30,
		"linux.resources.pids.limit":        "max",
		"linux.resources.blockIO.weight":    70000,
		"linux.resources.devices[0].allow":  "no",
		"linux.sysctl":                      []any{"a=b"},
		"linux.maskedPaths":                 "/proc/kcore",
		"linux.rootfsPropagation":           5,
	} {
		t.Run(path, func(t *testing.T) {
			var o object
			try(t, json.Unmarshal(whole, &o))
			put(o, path, value)
			b, err := json.Marshal(o)
			try(t, err)
			write(t, config, b)
			refused(at(e, t), path+": ", "create", "-b", bundle, id)
		})
	}
}

func TestValuesThatMakeNoSense(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	config := filepath.Join(bundle, "config.json")
	whole, err := os.ReadFile(config)
	try(t, err)
	for _, c := range []struct {
		path  string
		value any
		want  string
	}{
		{"ociVersion", "", "ociVersion: "},
		{"ociVersion", "2.0.0", "ociVersion: "},
		{"ociVersion", "one", "ociVersion: "},
		{"process", nil, "process: "},
		{"process.args", []any{}, "process.args: args must not be empty"},
		{"process.args", nil, "process.args: args must not be empty"},
		{"process.args", []any{"a\x00b"}, "process.args[0]: "},
		{"process.cwd", "tmp", "process.cwd: "},
		{"process.cwd", "", "process.cwd: "},
		{"process.env", []any{"=x"}, "process.env[0]: "},
		{"process.rlimits[0].type", "RLIMIT_X", "process.rlimits[0].type: "},
		{"process.oomScoreAdj", 2000, "process.oomScoreAdj: "},
		{"root", nil, "root: "},
		{"root.path", "", "root.path: "},
		{"mounts[0].destination", "", "mounts[0].destination: "},
		{"linux.namespaces[0].type", "planet", "linux.namespaces[0].type: "},
		{"linux.namespaces[0].path", "/proc/self/ns/none", "linux.namespaces"},
		{"linux.namespaces[0].path", "/etc/passwd", "linux.namespaces"},
		{"linux.sysctl", object{"kernel.nothing_at_all": "1"}, "linux.sysctl"},
		{"linux.rootfsPropagation", "sideways", "linux.rootfsPropagation: "},
	} {
		b, err := json.Marshal(c.value)
		try(t, err)
		t.Run(c.path+" "+string(b), func(t *testing.T) {
			var o object
			try(t, json.Unmarshal(whole, &o))
			put(o, c.path, c.value)
			b, err := json.Marshal(o)
			try(t, err)
			write(t, config, b)
			refused(at(e, t), c.want, "create", "-b", bundle, id)
		})
	}
}
