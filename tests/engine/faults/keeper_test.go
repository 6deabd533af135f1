package faults_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

type containerState = container.State

// read is a file that may go.
func read(path string) []byte {
	b, _ := os.ReadFile(path)
	return b
}

// TestKeeperKilled kills the keeper under an engine that lives. What it held in memory is lost, and who was attached is
// cut off; but containers live on, a new keeper reads their output, and clients can attach again.
func TestKeeperKilled(t *testing.T) {
	s := start(t, docker.Setup{})
	s.run(want("chatty", "i=0; while :; do echo $i; i=$((i+1)); usleep 2000; done"))
	echo := want("echo", "while read x; do echo $x; done")
	echo.Config.OpenStdin = true
	s.run(echo)
	for range 3 {
		old := s.keeper()
		if old == 0 {
			t.Fatal("no keeper")
		}
		if err := unix.Kill(old, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if !harness.Until(patience, func() bool { return s.keeper() != 0 && s.keeper() != old }) {
			t.Fatal("no new keeper")
		}
		var before int
		if !harness.Until(patience, func() bool {
			n := len(s.logs("chatty"))
			grown := before > 0 && n > before
			before = n
			return grown
		}) {
			t.Error("the log does not go on")
		}
		s.attach("echo")
		s.exec("chatty")
		s.run(want("next", "echo hello"))
		s.until("next", "exited", func(st *containerState) bool { return st.Status == container.StateExited })
		if got := s.logs("next"); got != "hello\n" {
			t.Errorf("log %q", got)
		}
		s.remove("next")
	}
	next := -1
	for line := range strings.FieldsSeq(s.logs("chatty")) {
		n, err := strconv.Atoi(line)
		if err == nil && n <= next {
			t.Errorf("line %d after %d", n, next)
		}
		next = n
	}
	s.nothing()
}

// attach says a word to a container that says it again.
func (s *subject) attach(name string) {
	s.t.Helper()
	const word = "hello"
	a, err := s.ContainerAttach(limited(s.t, patience), name, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer a.Close()
	_ = a.Conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(a.Conn, word); err != nil {
		s.t.Error(err)
	}
	if line, err := bufio.NewReader(plain(a.Reader)).ReadString('\n'); err != nil || line != word+"\n" {
		s.t.Errorf("attach: %q, %v", line, err)
	}
}

// exec has a further process in a container say a word.
func (s *subject) exec(name string) {
	s.t.Helper()
	const word = "hello"
	x, err := s.ExecCreate(limited(s.t, patience), name, client.ExecCreateOptions{AttachStdout: true, Cmd: []string{"echo", word}})
	if err != nil {
		s.t.Error(err)
		return
	}
	a, err := s.ExecAttach(limited(s.t, patience), x.ID, client.ExecAttachOptions{})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer a.Close()
	_ = a.Conn.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(plain(a.Reader)); string(b) != word+"\n" {
		s.t.Errorf("exec: %q, %v", b, err)
	}
}

// TestAnotherBuild replaces engine and keeper by those of another build, while clients are attached and a container
// writes: nobody notices.
func TestAnotherBuild(t *testing.T) {
	k := &killed{subject: start(t, docker.Setup{})}
	k.run(want("chatty", "i=0; while :; do echo $i; i=$((i+1)); usleep 1000; done"))
	attached := want("attached", "while read x; do echo $x; done")
	attached.Config.OpenStdin = true
	k.run(attached)
	k.run(want("further", "sleep 3600"))
	lines := k.streams()
	for i := range 4 {
		old := k.keeper()
		if i%2 == 0 {
			k.Dockerd.Kill()
		} else {
			k.Dockerd.Stop()
		}
		k.install(i)
		k.Dockerd.Start()
		if !harness.Until(patience, func() bool { return k.keeper() != 0 && k.keeper() != old }) {
			t.Errorf("keeper %d stays", old)
		}
		k.exec("further")
	}
	a, x := lines()
	t.Logf("%d lines logged, %d through attach, %d through exec", k.chatty(), a, x)
	k.nothing()
	k.Dockerd.Stop()
	if !harness.Until(patience, func() bool { return k.keeper() == 0 }) {
		t.Error("the keeper has nothing to keep, and stays")
	}
}

// install puts another build of the engine into the place of the one that is there: the build is the file.
func (k *killed) install(n int) {
	k.t.Helper()
	program, err := os.ReadFile(compat.Engine(k.t))
	if err != nil {
		k.t.Fatal(err)
	}
	// Behind the end of the program there is nothing that is run.
	program = append(slices.Clip(program), fmt.Sprintf("build %d", n)...)
	for _, name := range []string{"gantry-manager", "containerd-shim-gantry-v2", "runc"} { // installed together
		from, err := os.Readlink(k.path("bin/" + name))
		if err == nil && !exists(k.path("other/"+name)) {
			err = os.MkdirAll(k.path("other"), 0o755)
			if err == nil {
				err = os.Symlink(from, k.path("other/"+name))
			}
		}
		if err != nil {
			k.t.Fatal(err)
		}
	}
	path, link := k.path("other/dockerd"), k.path("bin/dockerd")
	for _, err := range []error{
		os.WriteFile(path+".new", program, 0o755), os.Rename(path+".new", path), os.Remove(link), os.Symlink(path, link),
	} {
		if err != nil {
			k.t.Fatal(err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
