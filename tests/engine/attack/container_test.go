package attack_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestContainers is one engine for all that a container or who creates one may try.
func TestContainers(t *testing.T) {
	v := start(t, "--debug")
	for name, try := range map[string]func(*victim){
		"CVE_2024_21626": (*victim).leakedDescriptor, "CVE_2015_3627": (*victim).onlyStdio,
		"CVE_2015_3630": (*victim).mountsOverProc, "CVE_2022_24769": (*victim).inheritable,
		"CVE_2022_36109": (*victim).groups, "CVE_2016_3697": (*victim).numericUser,
		"CVE_2018_20699": (*victim).longLists, "CVE_2020_15257": (*victim).abstractSockets,
		"CVE_2021_41091": (*victim).dataRoot, "CVE_2019_13509": (*victim).secretsInTheLog,
		"CVE_2026_31431": (*victim).cryptoSockets, "GHSA_6fw5_f8r9_fgfm": (*victim).sideChannels,
		"CVE_2014_9358": (*victim).pathsInImages,
	} {
		t.Run(name, func(t *testing.T) { try(&victim{v.Engine, v.Client, t}) })
	}
}

// leakedDescriptor starts in a folder of the host that a descriptor might lead to.
func (v *victim) leakedDescriptor() {
	for fd := range 20 {
		o := want("ls ../../../../..")
		o.Config.WorkingDir = fmt.Sprintf("/proc/self/fd/%d", fd)
		if out, err := v.output(o); err == nil {
			v.t.Errorf("descriptor %d is a folder: %s", fd, out)
		}
	}
	// Folders of proc are none of those that lead elsewhere.
	o := want("pwd")
	o.Config.WorkingDir = "/proc/sys"
	if out := v.run(o); out != "/proc/sys\n" {
		v.t.Errorf("%q", out)
	}
}

// onlyStdio lists what a program gets beside its streams. The one that lists has the folder open.
func (v *victim) onlyStdio() {
	if out := v.run(want("ls /proc/self/fd | wc -l; exec 9</; ls /proc/self/fd | wc -l")); out != "4\n5\n" {
		v.t.Errorf("descriptors: %q", out)
	}
}

func (v *victim) mountsOverProc() {
	for _, place := range []string{"/proc", "/proc/self", "/proc/sys/kernel", "/sys/../proc/1"} {
		o := want("true")
		o.HostConfig.Binds = []string{v.t.TempDir() + ":" + place}
		if _, err := v.output(o); err == nil {
			v.t.Errorf("something was mounted on %s", place)
		}
	}
	o := want("true")
	o.HostConfig.Binds = []string{v.t.TempDir() + ":/process"}
	v.run(o)
}

func (v *victim) inheritable() {
	for _, cap := range []string{"", "NET_ADMIN"} {
		o := want("grep -E 'CapInh|CapAmb|CapPrm' /proc/self/status")
		if cap != "" {
			o.HostConfig.CapAdd = []string{cap}
		}
		out := v.run(o)
		for _, none := range []string{"CapInh:\t0000000000000000", "CapAmb:\t0000000000000000"} {
			if !strings.Contains(out, none) {
				v.t.Errorf("with %q: %s", cap, out)
			}
		}
		if strings.Contains(out, "CapPrm:\t0000000000000000") {
			v.t.Error("it has no capabilities at all")
		}
	}
}

// groups is a file that the primary group may not read: without that group among its groups, a program could.
func (v *victim) groups() {
	o := want("id -G; grep Groups /proc/self/status")
	o.Config.User = "1234:4321"
	if out := v.run(o); out != "4321\nGroups:\t4321 \n" {
		v.t.Errorf("%q", out)
	}
}

// numericUser has an image in which 1000 is root's name.
func (v *victim) numericUser() {
	c, err := v.ContainerCreate(limited(v.t), want("echo 1000:x:0:0::/:/bin/sh >> /etc/passwd"))
	if err != nil {
		v.t.Fatal(err)
	}
	if _, err := v.ContainerStart(limited(v.t), c.ID, client.ContainerStartOptions{}); err != nil {
		v.t.Fatal(err)
	}
	<-v.ContainerWait(limited(v.t), c.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning}).Result
	img, err := v.ContainerCommit(limited(v.t), c.ID, client.ContainerCommitOptions{Reference: "lying:1"})
	if err != nil {
		v.t.Fatal(err)
	}
	o := want("id -u; grep ^1000: /etc/passwd")
	o.Config.Image, o.Config.User = img.ID, "1000"
	if out := v.run(o); out != "1000\n1000:x:0:0::/:/bin/sh\n" {
		v.t.Errorf("%q", out)
	}
}

func (v *victim) longLists() {
	for _, list := range []string{"0-1000000000", "0-4294967295", "1-2147483647,1-2147483647"} {
		o := want("true")
		o.HostConfig.CpusetCpus = list
		if _, err := v.ContainerCreate(limited(v.t), o); err == nil {
			v.t.Errorf("%s is a list of processors", list)
		}
	}
	o := want("true")
	o.HostConfig.CpusetCpus = "0"
	v.run(o)
}

// abstractSockets looks from the host's network for sockets that have no file, and so no mode.
func (v *victim) abstractSockets() {
	l, err := net.Listen("unix", "@gantry-attack")
	if err != nil {
		v.t.Fatal(err)
	}
	defer l.Close()
	cmd := v.Inside("cat", "/proc/net/unix")
	out, err := cmd.CombinedOutput()
	if err != nil {
		v.t.Fatal(err, string(out))
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 8 && strings.HasPrefix(f[7], "@") {
			v.t.Errorf("an abstract socket: %s", f[7])
		}
	}
	if !strings.Contains(string(out), "d.sock") {
		v.t.Error("nothing was looked at: not even the engine's own socket is there")
	}
	own, err := os.ReadFile("/proc/net/unix")
	if err != nil || !strings.Contains(string(own), "@gantry-attack") {
		v.t.Error("an abstract socket would not have been seen: ", err)
	}
}

// as runs a command of the host as somebody who is not root.
func as(uid uint32, args ...string) ([]byte, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd.CombinedOutput()
}

// dataRoot has a user of the host look for a program with root's rights in a container's files.
func (v *victim) dataRoot() {
	id, err := v.try(want("cp /bin/busybox /bin/mine; chmod 4755 /bin/mine; sleep 1000"))
	if err != nil {
		v.t.Fatal(err)
	}
	v.remove(id)
	data := v.path("data")
	for _, path := range []string{data, filepath.Join(data, "containers"), filepath.Join(data, "volumes"), filepath.Join(data, "manager")} {
		if out, err := as(65534, "ls", path); err == nil {
			v.t.Errorf("a user of the host sees %s: %s", path, out)
		}
		if out, err := as(65534, "ls", "-d", path+"/."); err == nil {
			v.t.Errorf("a user of the host passes %s: %s", path, out)
		}
	}
	if out, err := as(65534, "ls", "-d", filepath.Dir(v.Socket())+"/."); err != nil {
		v.t.Errorf("nothing was tried: the folder above cannot be passed either: %s", out)
	}
}

func (v *victim) remove(id string) {
	v.t.Helper()
	v.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(patience))
		defer cancel()
		if _, err := v.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true}); err != nil {
			v.t.Error(err)
		}
	})
}

// secretsInTheLog gives the engine secrets in all places where they come.
func (v *victim) secretsInTheLog() {
	const secret = "hunter2hunter2"
	auth := "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6Imh1bnRlcjJodW50ZXIyIn0=" // {"username":"u","password":SECRET}
	o := want("true")
	o.Config.Env = []string{"PASSWORD=" + secret}
	v.run(o)
	request := func(line, header, body string) {
		v.raw(fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", line, header, len(body), body))
	}
	request("POST /auth", "", `{"username":"u","password":"`+secret+`","serveraddress":"127.0.0.1:1"}`)
	request("POST /images/create?fromImage=127.0.0.1:1/x&tag=y", "X-Registry-Auth: "+auth+"\r\n", "")
	request("POST /images/127.0.0.1:1/none/push", "X-Registry-Auth: "+auth+"\r\n", "")
	request("POST /containers/create?name=bad/name", "", `{"Image":"x","Env":["P=`+secret+`"]}`)
	request("POST /containers/none/exec", "", `{"Cmd":["x"],"Env":["P=`+secret+`"]}`)
	log := v.log()
	if !strings.Contains(log, "/containers/none/exec") {
		v.t.Error("nothing of it was logged: the engine is not in debug mode")
	}
	for _, s := range []string{secret, auth} {
		for line := range strings.Lines(log) {
			if strings.Contains(line, s) {
				v.t.Errorf("a secret is in the log: %s", line)
			}
		}
	}
}

// cryptoSockets opens sockets of kinds that the default filter forbids, as Python would.
func (v *victim) cryptoSockets() {
	probe := filepath.Join(v.t.TempDir(), "probe")
	build := exec.Command("go", "build", "-o", probe, "./testdata/sockets")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		v.t.Fatalf("%v: %s", err, out)
	}
	try := func(opts ...string) string {
		o := want("")
		o.Config.Cmd = []string{"/probe"}
		o.HostConfig.Binds = []string{probe + ":/probe:ro"}
		o.HostConfig.SecurityOpt = opts
		return v.run(o)
	}
	if out := try(); out != "unix ok\nalg refused\nvsock refused\n" {
		v.t.Errorf("%q", out)
	}
	if out := try("seccomp=unconfined"); strings.Contains(out, "refused") {
		v.t.Skipf("it is not the filter that refuses: %q", out)
	}
}

// sideChannels reads what tells of others by their timing or power.
func (v *victim) sideChannels() {
	const read = "for f in /proc/interrupts /proc/timer_list /proc/kcore /proc/keys /proc/latency_stats; do " +
		"[ -e $f ] && echo $f $(head -c 64 $f 2>/dev/null | wc -c); done; " +
		"for d in /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap /sys/devices/system/cpu/cpu0/thermal_throttle; do " +
		"[ -d $d ] && echo $d $(ls $d | wc -l); done; true"
	open := func(out string) (list []string) {
		for line := range strings.Lines(out) {
			if name, n, _ := strings.Cut(strings.TrimSpace(line), " "); n != "0" {
				list = append(list, name)
			}
		}
		return list
	}
	if list := open(v.run(want(read))); len(list) > 0 {
		v.t.Errorf("can be read: %q", list)
	}
	o := want(read)
	o.HostConfig.MaskedPaths = []string{}
	if list := open(v.run(o)); len(list) == 0 {
		v.t.Error("nothing was tried: without masks they cannot be read either")
	}
}

// pathsInImages loads archives whose ids are paths: CVE-2014-9358, and whose parts are no sense: CVE-2021-21285.
func (v *victim) pathsInImages() {
	for name, manifest := range map[string]string{
		"path":         `[{"Config":"../../../../etc/passwd","RepoTags":["evil:1"],"Layers":[]}]`,
		"absolute":     `[{"Config":"/etc/passwd","RepoTags":["evil:1"],"Layers":["/etc/shadow"]}]`,
		"null":         `null`,
		"null in list": `[null]`,
		"deep":         strings.Repeat("[", 1<<20),
		"number":       `[{"Config":1}]`,
		"tag":          `[{"Config":"c.json","RepoTags":["../../x"],"Layers":[]}]`,
	} {
		archive := v.archive(map[string]string{"manifest.json": manifest, "c.json": `{"rootfs":{"type":"layers","diff_ids":null},"config":null}`})
		r, err := v.ImageLoad(limited(v.t), archive)
		said := ""
		if err == nil {
			said = readAll(r)
		}
		if err == nil && !strings.Contains(said, "error") && name != "null" {
			v.t.Errorf("%s: loaded: %s", name, said)
		}
	}
	if _, err := v.Ping(limited(v.t), client.PingOptions{}); err != nil {
		v.t.Error("the engine is gone: ", err)
	}
	if list, err := v.ImageList(limited(v.t), client.ImageListOptions{}); err != nil || strings.Contains(fmt.Sprint(list), "evil") {
		v.t.Error(list, err)
	}
}
