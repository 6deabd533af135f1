package bridge

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestSettings writes in a namespace, by a procfs of its own and by the machine's, and the others don't have it.
func TestSettings(t *testing.T) {
	harness.NeedRoot(t)
	const setting, path = "ipv4/conf/lo/log_martians", "/proc/sys/net/ipv4/conf/lo/log_martians"
	outside, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	value := "1"
	if string(outside) == "1\n" {
		value = "0"
	}
	for name, open := range map[string]func() (*os.File, error){
		"its own": mountProc, "the machine's": func() (*os.File, error) { return os.Open("/proc") },
	} {
		t.Run(name, func(t *testing.T) {
			proc, err := open()
			if err != nil {
				t.Fatal(err)
			}
			s := settings{proc}
			defer func() {
				if err := s.close(); err != nil {
					t.Error(err)
				}
			}()
			if got := s.inNew(t, setting, value, path); got != value+"\n" {
				t.Errorf("inside it is %q", got)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != string(outside) {
				t.Errorf("outside it is %q (%v), and was %q", got, err, outside)
			}
		})
	}
}

// inNew writes a setting in a new network namespace, and returns what a file has there then.
func (s settings) inNew(t *testing.T, setting, value, path string) (got string) {
	t.Helper()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	d := &Devices{home: home}
	if err := d.onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := s.write("ipv4/conf/lo/nonsense", value); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what is not there: %v", err)
		}
		if err := s.write(setting, value); err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		got = string(b)
		return err
	}); err != nil {
		t.Error(err)
	}
	return got
}
