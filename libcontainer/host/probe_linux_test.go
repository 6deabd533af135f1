package host

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const childEnv = "GANTRY_HOST_CHILD"

// TestMain lets a copy of the test binary print what it finds where a script put it.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	f, err := Probe()
	if err == nil {
		f.LSM = ProbeLSM()
		err = json.NewEncoder(os.Stdout).Encode(f)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// probeIn runs a shell script and then Probe in the place that the script made.
func probeIn(t *testing.T, script string, unshare ...string) *Facts {
	t.Helper()
	args := append(unshare, "/bin/sh", "-ec", script+"\nexec \"$0\"", os.Args[0])
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr.String())
	}
	f := new(Facts)
	if err := json.Unmarshal(out, f); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return f
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes namespaces and mounts")
	}
}

func TestProbeAgreesWithProcfs(t *testing.T) {
	f, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(string(text)); strconv.Itoa(f.LastCap) != want {
		t.Errorf("last capability %d, want %s", f.LastCap, want)
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if prefix := fmt.Sprintf("%d.%d", f.Kernel.Major, f.Kernel.Minor); !strings.HasPrefix(string(release), prefix) {
		t.Errorf("kernel %s, want %s", prefix, release)
	}
	if int(f.UID) != os.Geteuid() || int(f.GID) != os.Getegid() {
		t.Errorf("uid %d, gid %d", f.UID, f.GID)
	}
	for _, h := range f.Cgroup.Hierarchies {
		if _, err := os.Stat(h.Mount + h.Own + "/cgroup.procs"); err != nil {
			t.Errorf("hierarchy %q: %v", h.Name, err)
		}
	}
}

func TestProbeSeesTheLimitFromBeforeGoRaisedIt(t *testing.T) {
	out, err := exec.Command("sh", "-c", "ulimit -Sn 77; "+childEnv+"=1 exec \"$0\"", os.Args[0]).Output()
	if err != nil {
		t.Fatal(err)
	}
	var f Facts
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatal(err)
	}
	if f.NoFile.Soft != 77 || f.NoFile.Hard < 77 {
		t.Errorf("limit %+v, want soft 77", f.NoFile)
	}
}

func TestProbeSeesAUserNamespace(t *testing.T) {
	needRoot(t)
	if f := probeIn(t, "", "-U"); !f.UserNS || f.UID != 65534 {
		t.Errorf("in a user namespace without a map: userns %v, uid %d", f.UserNS, f.UID)
	}
	if f := probeIn(t, "", "-Ur"); !f.UserNS || f.UID != 0 {
		t.Errorf("in a user namespace as its root: userns %v, uid %d", f.UserNS, f.UID)
	}
	if f := probeIn(t, "", "-m"); f.UserNS && !inUserNS(t) {
		t.Error("a user namespace is seen where there is none")
	}
}

// inUserNS asks uid_map, which is another source than Probe's.
func inUserNS(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), " ") != "0 0 4294967295"
}

// TestProbeFindsCgroups hides the machine's /sys/fs/cgroup in private mount namespaces. It
// uses the pids hierarchy, which this machine must have as v1.
func TestProbeFindsCgroups(t *testing.T) {
	needRoot(t)
	const pids = "/sys/fs/cgroup/pids"
	if !isCgroup(pids, unix.CGROUP_SUPER_MAGIC) {
		t.Skip("needs a machine with the v1 hierarchy pids")
	}
	own := fmt.Sprintf("/gantry-host-test-%d", os.Getpid())
	if err := os.Mkdir(pids+own, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Rmdir(pids + own); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(pids+own+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Rmdir(pids + own + "/sub") })
	join := "echo 0 > " + pids + own + "/sub/cgroup.procs\n"
	const (
		hide  = "mount -t tmpfs none /sys/fs/cgroup; cd /sys/fs/cgroup\n"
		mount = "mkdir -p pids; mount -t cgroup -o pids none pids\n"
	)
	v1 := func(mount, own string) Cgroup {
		return Cgroup{CgroupV1, []Hierarchy{{Name: "pids", Mount: mount, Own: own, Controllers: []string{"pids"}}}}
	}
	for _, c := range []struct {
		name, script string
		want         Cgroup
	}{
		{"nothing is mounted", hide, Cgroup{Mode: CgroupNone, Hierarchies: []Hierarchy{}}},
		{"v1 at the usual place", join + hide + mount, v1(pids, own+"/sub")},
		{
			"v1 at a place with a space", join + hide + `mkdir "a b"; mount -t cgroup -o pids none "a b"`,
			v1("/sys/fs/cgroup/a b", own+"/sub"),
		},
		{"the own cgroup bound", join + "mount --bind " + pids + own + "/sub /mnt\n" + hide +
			"mkdir pids; mount --move /mnt pids", v1(pids, "/")},
		{"the own cgroup's parent bound", join + "mount --bind " + pids + own + " /mnt\n" + hide +
			"mkdir pids; mount --move /mnt pids", v1(pids, "/sub")},
		{
			"a fresh mount in a cgroup namespace", join + "exec unshare -Cm sh -ec '" + hide + mount + "exec \"$0\"' \"$0\"",
			v1(pids, "/"),
		},
		{"the host's mount in a cgroup namespace", join + hide + mount + "exec unshare -C \"$0\"", v1(pids, "/")},
		{
			"v2 at an unusual place beside v1 is not used", hide + mount + "mkdir v2; mount -t cgroup2 none v2",
			v1(pids, "/"),
		},
		{
			"v2 at an unusual place alone", hide + "mkdir v2; mount -t cgroup2 none v2",
			Cgroup{CgroupV2, []Hierarchy{{Mount: "/sys/fs/cgroup/v2"}}},
		},
		{
			"v2 over everything", "mount -t cgroup2 none /sys/fs/cgroup",
			Cgroup{CgroupV2, []Hierarchy{{Mount: "/sys/fs/cgroup"}}},
		},
		{
			"v2 beside v1", hide + mount + "mkdir unified; mount -t cgroup2 none unified",
			Cgroup{CgroupHybrid, []Hierarchy{v1(pids, "/").Hierarchies[0], {Mount: "/sys/fs/cgroup/unified"}}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := probeIn(t, c.script, "-m").Cgroup
			for i := range got.Hierarchies {
				h := &got.Hierarchies[i]
				if h.Unified() { // the machine's, not ours to know
					h.Own, h.Controllers = "", nil
				} else if !strings.Contains(c.script, join) {
					h.Own = "/"
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
