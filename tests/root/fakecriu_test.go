package root_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/criu/criutest"
	"github.com/gantry-containers/gantry/tests/harness"
)

// What these tests prove does not depend on CRIU: what it is asked, what its failures lead
// to. A stand-in plays its part, so they run on every machine.

func TestMain(m *testing.M) {
	criutest.Main()
	os.Exit(m.Run())
}

// requested is the last request of a kind that the stand-in got.
func requested(t *testing.T, file, kind string) *rpc.CriuOpts {
	t.Helper()
	var opts *rpc.CriuOpts
	for line := range strings.Lines(read(t, file) + "\n") {
		var req rpc.CriuReq
		if err := json.Unmarshal([]byte(line), &req); err != nil {
			t.Fatal(err)
		}
		if req.GetType().String() == kind {
			opts = req.GetOpts()
		}
	}
	if opts == nil {
		t.Fatalf("no %s among the requests", kind)
	}
	return opts
}

func TestCheckpointAsksCRIU(t *testing.T) {
	harness.NeedRoot(t)
	requests := criutest.Install(t)
	dir := t.TempDir()
	write(t, dir+"/volume/file", "")
	e := harness.New(t)
	bundle := e.Bundle(sleeper, func(s *specs.Spec) {
		withMounts(bind(dir+"/volume", "/link/volume", "ro"))(s)
		s.Annotations = map[string]string{"org.criu.config": "/etc/other.conf"}
	})
	rootfs := filepath.Join(bundle, "rootfs")
	if err := os.Symlink("real", filepath.Join(rootfs, "link")); err != nil {
		t.Fatal(err)
	}
	c := startIn(t, e, bundle)
	images, work := filepath.Join(dir, "images"), filepath.Join(dir, "work")
	write(t, filepath.Join(dir, "parent", "x"), "")
	status, err := os.OpenFile(filepath.Join(dir, "status"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	r := c.RunWith(func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{status} }, "checkpoint",
		"--image-path", images, "--work-path", work, "--parent-path", "../parent", "--leave-running", "--tcp-established",
		"--tcp-skip-in-flight", "--link-remap", "--ext-unix-sk", "--shell-job", "--lazy-pages", "--status-fd", "3",
		"--page-server", "[::1]:4321", "--file-locks", "--manage-cgroups-mode", "ignore", "--empty-ns", "network", "--auto-dedup", c.id)
	equal(t, "exit code", 0, r.Code)
	o := requested(t, requests, "DUMP")
	for name, set := range map[string]bool{
		"leave running": o.GetLeaveRunning(), "established": o.GetTcpEstablished(), "in flight": o.GetTcpSkipInFlight(), "link remap": o.GetLinkRemap(),
		"unix sockets": o.GetExtUnixSk(), "shell job": o.GetShellJob(), "lazy pages": o.GetLazyPages(), "file locks": o.GetFileLocks(),
		"dedup": o.GetAutoDedup(), "memory tracking": o.GetTrackMem(), "orphan terminal": o.GetOrphanPtsMaster(), "scripts": o.GetNotifyScripts(),
	} {
		if !set {
			t.Errorf("not asked for: %s", name)
		}
	}
	equal(t, "pid", int32(c.pid), o.GetPid())
	equal(t, "root", rootfs, o.GetRoot())
	equal(t, "parent", "../parent", o.GetParentImg())
	equal(t, "status descriptor", int32(3), o.GetStatusFd())
	equal(t, "page server", "::1 4321", o.GetPs().GetAddress()+" "+itoa(int(o.GetPs().GetPort())))
	equal(t, "mode", "IGNORE", o.GetManageCgroupsMode().String())
	equal(t, "empty namespaces", uint32(unix.CLONE_NEWNET), o.GetEmptyNs())
	equal(t, "config file", "/etc/other.conf", o.GetConfigFile())
	keys := map[string]string{}
	for _, m := range o.GetExtMnt() {
		keys[m.GetKey()] = m.GetVal()
	}
	equal(t, "volume", "/real/volume", keys["/real/volume"])
	equal(t, "masked file", "/dev/null", keys["/proc/timer_list"])
	equal(t, "its own mount", "", keys["/dev/shm"])
	equal(t, "log", "(00.000001)", strings.Fields(read(t, work+"/dump.log"))[0])
	equal(t, "it runs on", c.pid, c.State(c.id).Pid)
}

func TestCheckpointThatFailsChangesNothing(t *testing.T) {
	harness.NeedRoot(t)
	images := filepath.Join(t.TempDir(), "images")
	for name, tc := range map[string]struct {
		env   string
		flags []string
		words []string
	}{
		"refused":             {"FAIL=dump", nil, []string{"criu failed: type DUMP errno 17: Error (fake.c:1): the cause; log file: " + images + "/dump.log"}},
		"died":                {"DIE=dump", nil, []string{"criu failed: type DUMP errno 0: ended with signal: killed"}},
		"too old":             {"VERSION=3.1.0", nil, []string{"checkpoint needs criu 3.15.0 or newer, this is 3.1.0"}},
		"no memory tracking":  {"LACK=1", []string{"--pre-dump"}, []string{"pre-dump: criu and this kernel can't do that"}},
		"no lazy pages":       {"LACK=1", []string{"--lazy-pages"}, []string{"--lazy-pages: criu and this kernel can't do that"}},
		"absolute parent":     {"LACK=", []string{"--parent-path", "/tmp"}, []string{"--parent-path: /tmp is not relative to --image-path"}},
		"no parent":           {"LACK=", []string{"--parent-path", "../none"}, []string{"--parent-path:", "no such file or directory"}},
		"status not writable": {"LACK=", []string{"--status-fd", "77"}, []string{"--status-fd: 77 is not open for writing: bad file descriptor"}},
		"mode":                {"LACK=", []string{"--manage-cgroups-mode", "hard"}, []string{"--manage-cgroups-mode: ", "is not soft, full, strict or ignore"}},
	} {
		t.Run(name, func(t *testing.T) {
			criutest.Install(t, tc.env)
			c := start(t, nil)
			wantFailure(t, c.Run(append(append([]string{"checkpoint", "--image-path", images}, tc.flags...), c.id)...), tc.words...)
			st := c.State(c.id)
			equal(t, "status", specs.StateRunning, st.Status)
			equal(t, "pid", c.pid, st.Pid)
		})
	}
}

func TestCheckpointRefusesWhatDoesNotRun(t *testing.T) {
	harness.NeedRoot(t)
	criutest.Install(t)
	e := harness.New(t)
	id := e.ID("c")
	e.MustRun("create", "-b", e.Bundle("true", nil), id)
	wantFailure(t, e.Run("checkpoint", id), "container cannot be checkpointed in created state")
	e.MustRun("start", id)
	e.WaitStatus(id, specs.StateStopped)
	wantFailure(t, e.Run("checkpoint", id), "container cannot be checkpointed in stopped state")
	wantFailure(t, e.Run("checkpoint", e.ID("none")), "container does not exist")
}

func TestCheckpointRefusesStackedMounts(t *testing.T) {
	harness.NeedRoot(t)
	criutest.Install(t)
	a, b := t.TempDir(), t.TempDir()
	c := start(t, withMounts(bind(a, "/volume", "ro"), bind(b, "/volume")))
	wantFailure(t, c.Run("checkpoint", "--image-path", t.TempDir(), c.id), "/volume: something is mounted over what came from outside")
	c = start(t, withMounts(bind(a, "/vol:ume")))
	wantFailure(t, c.Run("checkpoint", "--image-path", t.TempDir(), c.id), "/vol:ume: CRIU can't name a mount point with a colon")
}

// fakeImages makes what lies beside images: nothing that CRIU itself would need.
func fakeImages(t *testing.T, mounts string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/descriptors.json", `["pipe:[1]","","file[a:b]"]`)
	write(t, dir+"/mounts.json", mounts)
	return dir
}

func TestRestoreAsksCRIU(t *testing.T) {
	harness.NeedRoot(t)
	requests := criutest.Install(t)
	e := harness.New(t)
	volume := t.TempDir()
	bundle := e.Bundle("true", withMounts(bind(volume, "/volume")))
	id, images := e.ID("c"), fakeImages(t, `[{"point":"/proc"}]`)
	pid := filepath.Join(t.TempDir(), "pid")
	// -no-subreaper is what go-runc sends.
	e.MustRun("restore", "-d", "-b", bundle, "-no-subreaper", "--no-pivot", "--pid-file", pid, "--image-path", images, "--tcp-established", "--tcp-close",
		"--ext-unix-sk", "--shell-job", "--file-locks", "--manage-cgroups-mode", "full", "--empty-ns", "network", "--auto-dedup", "--lazy-pages",
		"--lsm-profile", "apparmor:p", "--lsm-mount-context", "system_u:object_r:t", id)
	o := requested(t, requests, "RESTORE")
	for name, set := range map[string]bool{
		"established": o.GetTcpEstablished(), "close": o.GetTcpClose(), "unix sockets": o.GetExtUnixSk(), "shell job": o.GetShellJob(),
		"file locks": o.GetFileLocks(), "dedup": o.GetAutoDedup(), "lazy pages": o.GetLazyPages(), "sibling": o.GetRstSibling(),
	} {
		if !set {
			t.Errorf("not asked for: %s", name)
		}
	}
	equal(t, "mode", "FULL", o.GetManageCgroupsMode().String())
	equal(t, "profile", "apparmor:p", o.GetLsmProfile())
	equal(t, "mount context", "system_u:object_r:t", o.GetLsmMountContext())
	equal(t, "inherited", "pipe:[1] file[a:b]", o.GetInheritFd()[0].GetKey()+" "+o.GetInheritFd()[1].GetKey())
	equal(t, "as", int32(2), o.GetInheritFd()[1].GetFd())
	st := e.State(id)
	equal(t, "status", specs.StateRunning, st.Status)
	equal(t, "pid file", itoa(st.Pid), read(t, pid))
	if !strings.Contains(proc(t, st.Pid, "cgroup"), id) {
		t.Errorf("the restored process is not in the container's cgroup: %s", proc(t, st.Pid, "cgroup"))
	}
	e.MustRun("delete", "--force", id)
}

func TestRestoreRefusesAndLeavesNothing(t *testing.T) {
	harness.NeedRoot(t)
	for name, tc := range map[string]struct {
		env, mounts string
		edit        change
		flags       []string
		words       []string
	}{
		"CRIU refuses":       {env: "FAIL=restore", words: []string{"criu failed: type RESTORE errno 17: Error (fake.c:1): the cause; log file: IMAGES/restore.log"}},
		"CRIU dies":          {env: "DIE=restore", words: []string{"criu failed: type RESTORE errno 0: ended with signal: killed"}},
		"CRIU is too old":    {env: "VERSION=3.1.0", words: []string{"restore needs criu 3.15.0 or newer"}},
		"and for a label":    {env: "VERSION=3.15.0", flags: []string{"--lsm-profile", "apparmor:p"}, words: []string{"--lsm-profile or --lsm-mount-context needs criu 3.16.0 or newer"}},
		"no such mount":      {mounts: `[{"point":"/v","kind":"bind","name":"/v"}]`, words: []string{"config.json has no mount on /v"}},
		"no such bundle":     {flags: []string{"-b", "/none"}, words: []string{"--bundle: chdir /none: no such file"}},
		"no such work path":  {flags: []string{"--work-path", "/none"}, words: []string{"--work-path: open /none: no such file"}},
		"damaged mounts":     {mounts: `[{"point":`, words: []string{"mounts.json: unexpected end of JSON input"}},
		"no place for a pid": {flags: []string{"--pid-file", "/none/pid"}, words: []string{"--pid-file: /none/pid: no such file"}},
		"pid namespace": {edit: func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace, Path: "/proc/self/ns/time"})
		}, words: []string{"CRIU can't join a time namespace"}},
		// The stand-in mounts nothing, as one would that had been led astray.
		"a mount is elsewhere": {
			edit: withMounts(bind("/usr", "/volume", "ro")), mounts: `[{"point":"/usr/bin","kind":"bind","name":"/volume"}]`,
			words: []string{"the restored mount on /usr/bin is not what config.json asks for: nothing is mounted there"},
		},
		"a mount shows something else": {
			edit: withMounts(bind("/usr", "/volume")), mounts: `[{"point":"/proc","kind":"bind","name":"/volume"}]`,
			words: []string{"the restored mount on /proc is not what config.json asks for: it does not show /usr"},
		},
		"a mount is not read-only": {
			edit: withMounts(bind("/dev/shm", "/volume", "ro")), mounts: `[{"point":"/dev/shm","kind":"bind","name":"/volume"}]`,
			words: []string{"the restored mount on /dev/shm is not what config.json asks for: it is not ro"},
		},
		"the root is not read-only": {edit: func(s *specs.Spec) { s.Root.Readonly = true }, words: []string{"root.readonly: it is not ro"}},
	} {
		t.Run(name, func(t *testing.T) {
			criutest.Install(t, strings.Fields(tc.env)...)
			e := harness.New(t)
			if tc.mounts == "" {
				tc.mounts = "[]"
			}
			images := fakeImages(t, tc.mounts)
			bundle := e.Bundle("true", tc.edit)
			args := append([]string{"restore", "-d", "--image-path", images}, tc.flags...)
			if !strings.Contains(strings.Join(tc.flags, " "), "-b ") {
				args = append(args, "-b", bundle)
			}
			for i := range tc.words {
				tc.words[i] = strings.ReplaceAll(tc.words[i], "IMAGES", images)
			}
			wantFailure(t, e.Run(append(args, e.ID("c"))...), tc.words...)
			if left := e.Leftovers(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestRestoreRefusesTargetsBehindSymlinks(t *testing.T) {
	harness.NeedRoot(t)
	requests := criutest.Install(t)
	e := harness.New(t)
	host := t.TempDir()
	bundle := e.Bundle("true", withMounts(bind(t.TempDir(), "/a/volume")))
	if err := os.Symlink(host, filepath.Join(bundle, "rootfs", "a")); err != nil {
		t.Fatal(err)
	}
	images := fakeImages(t, `[{"point":"/a/volume","kind":"bind","name":"/a/volume"}]`)
	wantFailure(t, e.Run("restore", "-d", "-b", bundle, "--image-path", images, e.ID("c")),
		"mount target: /a/volume is behind a symlink, but was not when the container was dumped")
	if strings.Contains(read(t, requests), `"RESTORE"`) || strings.Contains(read(t, requests), "imagesDirFd") {
		t.Error("CRIU was asked all the same")
	}
	if entries, err := os.ReadDir(host); err != nil || len(entries) > 0 {
		t.Errorf("on the host: %v, %v", entries, err)
	}
}
