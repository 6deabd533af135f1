package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/shim/api/cri"
	"github.com/gantry-containers/gantry/shim/api/sandbox"
)

// The containers of the CRI plugin's pods get what the pod gives them, and keep what the client gives them.
func TestFurnish(t *testing.T) {
	f := newFixture(t, "")
	r := f.request()
	r.NetnsPath = netns(t)
	r.Options = config(t, &cri.PodSandboxConfig{Hostname: "a-pod", DnsConfig: &cri.DNSConfig{
		Servers: []string{"10.0.0.10", "10.0.0.11"}, Searches: []string{"svc.local", "local"}, Options: []string{"ndots:5"},
	}})
	f.up(t, r)
	pod := filepath.Join(f.bundle, folder)
	own := fmt.Sprintf(`{"destination":"/etc/resolv.conf","type":"bind","source":"%[1]s/resolv.conf","options":["rbind","rprivate","ACCESS"]},`+
		`{"destination":"/etc/hostname","type":"bind","source":"%[1]s/hostname","options":["rbind","rprivate","ACCESS"]}`, pod)
	shm := fmt.Sprintf(`{"destination":"/dev/shm","type":"bind","source":"%s/rootfs","options":["rbind","rprivate","rw","nosuid","nodev","noexec"]}`, f.bundle)
	const (
		proc     = `{"destination":"/proc","source":"proc","type":"proc","x":1e3}`
		shmTmpfs = `{"destination":"/dev/shm/","type":"tmpfs","source":"shm"}`
		shmBind  = `{"destination":"/dev/shm","type":"bind","source":"/dev/shm"}`
	)
	for name, test := range map[string]struct{ in, want string }{
		"no mounts":      {`{"root":{"path":"rootfs"}}`, `{"root":{"path":"rootfs"},"mounts":[` + own + `,` + shm + `]}`},
		"readonly":       {`{"root":{"readonly":true}}`, `{"root":{"readonly":true},"mounts":[` + strings.ReplaceAll(own, "ACCESS", "ro") + `,` + shm + `]}`},
		"a private shm":  {`{"mounts":[` + shmTmpfs + `,` + proc + `]}`, `{"mounts":[` + shm + `,` + proc + `,` + own + `]}`},
		"a chosen shm":   {`{"mounts":[` + shmBind + `]}`, `{"mounts":[` + shmBind + `,` + own + `]}`},
		"unknown fields": {`{"y":{"z":[1,2.50]},"mounts":[]}`, `{"y":{"z":[1,2.50]},"mounts":[` + own + `,` + shm + `]}`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := container(t, f.id, test.in)
			if err := f.Furnish(dir); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decode(t, strings.ReplaceAll(test.want, "ACCESS", "rw")), decode(t, read(t, dir+"/config.json"))); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
	if want, got := "search svc.local local\nnameserver 10.0.0.10\nnameserver 10.0.0.11\noptions ndots:5\n", read(t, pod+"/resolv.conf"); got != want {
		t.Errorf("resolv.conf: %q, want %q", got, want)
	}
	if want, got := "a-pod\n", read(t, pod+"/hostname"); got != want {
		t.Errorf("hostname: %q, want %q", got, want)
	}
	if inode(t, f.bundle+"/rootfs") == inode(t, f.bundle) || mounted(t, f.bundle) != 1 {
		t.Error("no shared memory is mounted")
	}
	if _, err := f.stop(t.Context(), &sandbox.StopSandboxRequest{SandboxId: f.id}); err != nil {
		t.Fatal(err)
	}
	if mounted(t, f.bundle) != 0 {
		t.Error("the shared memory is still mounted")
	}
}

// Other containers, and those of other sandboxes, stay as they are.
func TestFurnishLeavesOthersAlone(t *testing.T) {
	f := newFixture(t, `{"linux":{"namespaces":[{"type":"uts"}]}}`)
	f.up(t, f.request())
	for name, dir := range map[string]string{
		"no sandbox":      container(t, "", "{}"),
		"another sandbox": container(t, "another", "{}"),
		"without the CRI": container(t, f.id, "{}"),
	} {
		if err := f.Furnish(dir); err != nil || read(t, dir+"/config.json") != "{}" {
			t.Errorf("%s: %v, %s", name, err, read(t, dir+"/config.json"))
		}
	}
}

// container makes a container's bundle as containerd does.
func container(t *testing.T, sandbox, config string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"sandbox": sandbox, "config.json": config} {
		if name == "sandbox" && content == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func decode(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// mounted counts the mounts below a folder.
func mounted(t *testing.T, dir string) int {
	t.Helper()
	return strings.Count(read(t, "/proc/self/mountinfo"), " "+dir+"/")
}
