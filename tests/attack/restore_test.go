package attack

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Images that mislead CRIU. The files of a checkpoint are the caller's and trusted; the
// root file system between dump and restore is not.

// dumped is a container with a canary on /ro, read-only, and a volume on /rw, where /ro
// and /rw are links of the image to /t1 and /t2; it has been dumped.
type dumped struct {
	*harness.Env
	bundle, images, canary, volume string
	before                         string // its mounts on /t1 and /t2
}

func dump(t *testing.T) *dumped {
	t.Helper()
	harness.NeedRoot(t)
	harness.Need(t, harness.CRIU)
	d := &dumped{Env: harness.New(t), canary: canary(t), volume: t.TempDir(), images: filepath.Join(t.TempDir(), "images")}
	write(t, filepath.Join(d.volume, "secret"), "volume\n")
	d.bundle = d.Bundle("while :; do sleep 0.1; done", func(s *specs.Spec) {
		ro := bind(d.canary, "/ro")
		ro.Options = []string{"rbind", "ro"}
		s.Mounts = append(s.Mounts, ro, bind(d.volume, "/rw"))
	})
	for name, to := range map[string]string{"ro": "t1", "rw": "t2"} {
		mkdir(t, d.in(to))
		link(t, "/"+to, d.in(name))
	}
	id := d.ID("dumped")
	d.MustRun("run", "-d", "-b", d.bundle, id)
	d.before = d.seen(t, id)
	d.MustRun("checkpoint", "--image-path", d.images, id)
	return d
}

func (d *dumped) in(name string) string { return filepath.Join(d.bundle, "rootfs", name) }

// seen is what a container has on its two mounts, and whether it may write there.
func (d *dumped) seen(t *testing.T, id string) string {
	t.Helper()
	return d.MustRun("exec", id, "sh", "-c", `for m in /t1 /t2; do
		cat $m/secret; awk -v m=$m '$5 == m {print $4, $5, substr($6, 1, 2)}' /proc/self/mountinfo
		if (echo x >$m/new) 2>/dev/null; then rm $m/new; echo writable; fi
	done`)
}

// restore returns false, and why, when it is refused; what is not must pass.
func (d *dumped) restore(pass func(id string)) (bool, string) {
	id := d.ID("restored")
	r := d.Run("restore", "-d", "-b", d.bundle, "--image-path", d.images, id)
	if r.Code != 0 {
		return false, r.Stderr
	}
	pass(id)
	d.MustRun("delete", "--force", id)
	return true, ""
}

// asBefore wants a restored container to see what the dumped one saw.
func (d *dumped) asBefore(t *testing.T) func(id string) {
	return func(id string) {
		if got := d.seen(t, id); got != d.before {
			t.Errorf("after restore:\n%s\nbefore:\n%s", got, d.before)
		}
	}
}

// protected wants a restored container to have the canary once and read-only, wherever: a
// mount goes where its mount point is renamed to.
func (d *dumped) protected(t *testing.T) func(id string) {
	return func(id string) {
		table, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(d.State(id).Pid), "mountinfo"))
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for line := range strings.Lines(string(table)) {
			if f := strings.Fields(line); strings.HasPrefix(f[3], d.canary) {
				count++
				if !strings.HasPrefix(f[5], "ro,") {
					t.Errorf("the canary is mounted %s: %s", f[5], line)
				}
			}
		}
		if count != 1 {
			t.Errorf("%d mounts of the canary:\n%s", count, table)
		}
	}
}

func TestCVE_2026_119101_LinksInTheImage(t *testing.T) {
	t.Run("as they were", func(t *testing.T) {
		d := dump(t)
		if want := "canary\n" + d.canary + " /t1 ro\nvolume\n" + d.volume + " /t2 rw\nwritable\n"; d.before != want {
			t.Fatalf("before:\n%s\nwant:\n%s", d.before, want)
		}
		if ok, why := d.restore(d.asBefore(t)); !ok {
			t.Error(why)
		}
	})
	t.Run("swapped after the dump", func(t *testing.T) {
		d := dump(t)
		link(t, "/t2", d.in("ro"))
		link(t, "/t1", d.in("rw"))
		if ok, why := d.restore(d.asBefore(t)); !ok {
			t.Error(why)
		}
	})
	for name, target := range map[string]func(d *dumped) string{
		"to the other":      func(*dumped) string { return "/t2" },
		"to the host":       func(d *dumped) string { return d.canary },
		"up to the host":    func(d *dumped) string { return "../../../../../.." + d.canary },
		"to what is not":    func(*dumped) string { return "/none" },
		"to the root of it": func(*dumped) string { return "/" },
	} {
		t.Run("instead of a mount target, "+name, func(t *testing.T) {
			d := dump(t)
			link(t, target(d), d.in("t1"))
			if ok, why := d.restore(d.asBefore(t)); ok || !strings.Contains(why, "behind a symlink") {
				t.Errorf("restored: %v; %s", ok, why)
			}
		})
	}
}

func TestCVE_2026_119614_LinksThatComeAndGo(t *testing.T) {
	for name, target := range map[string]func(d *dumped) string{
		"to the other": func(*dumped) string { return "/t2" },
		"to the host":  func(d *dumped) string { return d.canary },
	} {
		t.Run(name, func(t *testing.T) {
			d := dump(t)
			if err := os.Symlink(target(d), d.in("swapped")); err != nil {
				t.Fatal(err)
			}
			swapper(t, d.in("t1"), d.in("swapped"))
			restored, why := 0, ""
			const tries = 15
			for range tries {
				if ok, refusal := d.restore(d.protected(t)); ok {
					restored++
				} else {
					why = refusal
				}
			}
			t.Logf("%d of %d came through; the last that did not: %s", restored, tries, why)
		})
	}
}
