package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gantry-containers/gantry/shim/reap"
)

// asRuntime makes this test's binary an OCI runtime without containers: the processes are plain ones.
const asRuntime = "GANTRY_TEST_RUNTIME"

func TestMain(m *testing.M) {
	if os.Getenv(asRuntime) != "" {
		_ = os.Unsetenv(asRuntime)
		if err := fakeRuntime(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	_ = os.Setenv(asRuntime, "1")
	if err := reap.Subreaper(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// fakeRuntime does what the verb says. A file before-VERB or after-VERB in the bundle is a script that it runs: it may
// wait, or fail. The init process is the bundle's file `script`, once it is started.
func fakeRuntime(args []string) error {
	root := option(args, "--root")
	verb := args[slices.IndexFunc(args, func(a string) bool {
		return slices.Contains([]string{"create", "start", "exec", "kill", "delete", "ps", "pause", "resume", "update", "checkpoint"}, a)
	})]
	rest := args[slices.Index(args, verb)+1:]
	positional := positionals(rest)
	dir := filepath.Join(root, positional[0])
	bundle := option(rest, "--bundle")
	if bundle == "" {
		b, err := os.ReadFile(dir + "/bundle")
		if err != nil {
			return fmt.Errorf("container %q does not exist", positional[0])
		}
		bundle = string(b)
	}
	if err := script(bundle, "before-"+verb); err != nil {
		return err
	}
	var err error
	switch verb {
	case "create":
		err = fakeCreate(dir, bundle, option(rest, "--pid-file"))
	case "start":
		err = os.WriteFile(dir+"/started", nil, 0o600)
	case "exec":
		err = fakeExec(option(rest, "--process"), option(rest, "--pid-file"))
	case "kill":
		err = fakeKill(dir, positional[1], slices.Contains(rest, "--all"))
	case "delete":
		_ = fakeKill(dir, "9", false)
		err = os.RemoveAll(dir)
	case "ps":
		pid, _ := os.ReadFile(dir + "/pid")
		fmt.Printf("[%s]\n", pid)
	}
	if err != nil {
		return err
	}
	return script(bundle, "after-"+verb)
}

func option(args []string, name string) string {
	if i := slices.Index(args, name); i >= 0 {
		return args[i+1]
	}
	return ""
}

func positionals(args []string) []string {
	var found []string
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case slices.Contains([]string{"--bundle", "--pid-file", "--process", "--format", "--resources", "--console-socket"}, a):
			i++
		case !strings.HasPrefix(a, "-"):
			found = append(found, a)
		}
	}
	return found
}

func script(bundle, name string) error {
	if _, err := os.Stat(filepath.Join(bundle, name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	cmd := exec.Command("sh", name)
	cmd.Dir, cmd.Stderr = bundle, os.Stderr
	return cmd.Run()
}

func fakeCreate(dir, bundle, pidFile string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/bundle", []byte(bundle), 0o600); err != nil {
		return err
	}
	pid, err := leave(pidFile, "while [ ! -e $0/started ]; do sleep 0.01; done; exec sh $1/script", dir, bundle)
	if err != nil {
		return err
	}
	return os.WriteFile(dir+"/pid", []byte(strconv.Itoa(pid)), 0o600)
}

func fakeExec(process, pidFile string) error {
	b, err := os.ReadFile(process)
	if err != nil {
		return err
	}
	var p struct{ Args []string }
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	_, err = leave(pidFile, p.Args[0])
	return err
}

// leave starts a process and lets it go.
func leave(pidFile, command string, args ...string) (int, error) {
	cmd := exec.Command("sh", append([]string{"-c", command}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, os.WriteFile(pidFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
}

func fakeKill(dir, signal string, _ bool) error {
	b, err := os.ReadFile(dir + "/pid")
	if err != nil {
		return err
	}
	pid, _ := strconv.Atoi(string(b))
	n, err := strconv.Atoi(signal)
	if err != nil {
		return err
	}
	if syscall.Kill(pid, syscall.Signal(n)) != nil {
		return fmt.Errorf("container not running")
	}
	return nil
}
