package shim

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestDelete(t *testing.T) {
	f := newFakes(t, "new")
	s := f.start("a")
	for range 2 {
		answer, err := f.launcher.Delete(t.Context(), s.bundle)
		if err != nil || answer.Pid != 42 || answer.ExitStatus != 137 {
			t.Errorf("got %v, %v", answer, err)
		}
	}
	if err := os.Remove(f.binary); err != nil {
		t.Fatal(err)
	}
	if _, err := f.launcher.Delete(t.Context(), s.bundle); !errdefs.IsNotFound(err) {
		t.Errorf("without a binary: %v", err)
	}
	if _, err := f.launcher.Delete(t.Context(), f.bundle("b")); !errdefs.IsNotFound(err) {
		t.Errorf("of one that was not started: %v", err)
	}
	if _, err := f.launcher.Delete(t.Context(), f.store.Get("test", "c")); !errdefs.IsNotFound(err) {
		t.Errorf("of none: %v", err)
	}
}

// A shim that was killed leaves its socket.
func TestDeadSocket(t *testing.T) {
	f := newFakes(t, "new")
	s := f.start("a")
	name, err := socketName(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.launcher.Delete(t.Context(), s.bundle); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(name); err != nil {
		t.Fatal("a shim that lives has lost its socket:", err)
	}
	if err := unix.Kill(s.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Gone()
	if _, err := f.launcher.Delete(t.Context(), s.bundle); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the socket is there still:", err)
	}
}

func TestHostileDelete(t *testing.T) {
	for words, text := range map[string]string{
		"delete-hangs":   "it has not ended after 200ms",
		"delete-fails":   "the container is stuck: exit status 1",
		"delete-garbage": "its answer",
	} {
		f := newFakes(t, words)
		f.launcher.limits.delete = 10 * time.Second
		if words == "delete-hangs" {
			f.launcher.limits.delete = 200 * time.Millisecond
		}
		b := f.bundle("a")
		if err := writeFile(b, binaryFile, []byte(f.binary), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.launcher.Delete(t.Context(), b); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v", words, err)
		}
		f.noneLeft()
	}
}

func TestInfo(t *testing.T) {
	f := newFakes(t, "new")
	given := &anypb.Any{TypeUrl: "test/Options", Value: []byte("x")}
	ask := func(options *anypb.Any) *types.RuntimeInfo {
		t.Helper()
		info, err := f.launcher.Info(t.Context(), Request{Runtime: f.binary, Options: options})
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for range 3 {
		info := ask(nil)
		if info.Name != "fake" || info.Options != nil {
			t.Errorf("got %v", info)
		}
		info.Name = "changed" // by who asked
		if info := ask(given); string(info.Options.GetValue()) != "x" {
			t.Errorf("got %v", info)
		}
	}
	if diff := cmp.Diff([]string{"-info", "-info"}, f.calls()); diff != "" {
		t.Error(diff)
	}
	f.behave("info-garbage")
	if _, err := f.launcher.Info(t.Context(), f.request()); !errdefs.IsUnavailable(err) {
		t.Errorf("garbage: %v", err)
	}
	if _, err := f.launcher.Info(t.Context(), Request{Runtime: "x"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no name: %v", err)
	}
}
