package stdio

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// create makes a container of the script as the shim does.
func create(t *testing.T, o *IO, script string, change func(*specs.Spec)) (e *harness.Env, id string) {
	t.Helper()
	e = harness.New(t)
	id = e.ID("c")
	args := []string{"create", "--bundle", e.Bundle(script, change)}
	if s := o.ConsoleSocket(); s != "" {
		args = append(args, "--console-socket", s)
	}
	r := e.RunWith(func(cmd *exec.Cmd) {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, nil
		in, out, errs := o.Files()
		if in != nil {
			cmd.Stdin = in
		}
		if out != nil {
			cmd.Stdout = out
		}
		if errs != nil {
			cmd.Stderr = errs
		}
	}, append(args, id)...)
	if r.Code != 0 {
		t.Fatalf("create: exit %d", r.Code)
	}
	return e, id
}

// A user who is not root opens the pipes anew, because the shim made them over to it.
func TestContainer(t *testing.T) {
	harness.NeedRoot(t)
	spec := Spec{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err"), UID: 1000, GID: 1000}
	out, errs, in := openEnd(t, spec.Stdout, os.O_RDONLY), openEnd(t, spec.Stderr, os.O_RDONLY), openEnd(t, spec.Stdin, os.O_RDWR)
	o := open(t, spec)
	e, id := create(t, o, "echo one; echo two >/dev/stdout; echo three >/dev/stderr; cat", func(s *specs.Spec) { s.Process.User.UID, s.Process.User.GID = 1000, 1000 })
	start(t, o)
	e.MustRun("start", id)
	if _, err := in.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := o.CloseStdin(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, out); got != "one\ntwo\ntyped\n" {
		t.Errorf("stdout: %q", got)
	}
	if got := readAll(t, errs); got != "three\n" {
		t.Errorf("stderr: %q", got)
	}
	e.WaitStatus(id, specs.StateStopped)
}

func TestContainerOnTerminal(t *testing.T) {
	harness.NeedRoot(t)
	spec := Spec{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Terminal: true}
	out, in := openEnd(t, spec.Stdout, os.O_RDONLY), openEnd(t, spec.Stdin, os.O_RDWR)
	o := open(t, spec)
	// A program without a terminal of its own opens the console for each line.
	e, id := create(t, o, `stty -echo; stty size; read word; exec </dev/null >/dev/null 2>&1
		for i in 1 2 3; do echo $word $i >/dev/console; sleep 0.05; done; seq 5000 >/dev/console`, func(s *specs.Spec) { s.Process.Terminal = true })
	start(t, o)
	if err := o.Resize(111, 22); err != nil {
		t.Fatal(err)
	}
	e.MustRun("start", id)
	if got := readN(t, out, len("22 111\r\n")); got != "22 111\r\n" {
		t.Errorf("the size is %q", got)
	}
	if _, err := in.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		e.WaitStatus(id, specs.StateStopped)
		o.Drain(time.Minute)
	}()
	got := readAll(t, out)
	if !strings.HasPrefix(got, "typed 1\r\ntyped 2\r\ntyped 3\r\n1\r\n") || !strings.HasSuffix(got, "5000\r\n") || strings.Count(got, "\n") != 5003 {
		t.Errorf("%d bytes: %.60q", len(got), got)
	}
	<-gone
}
