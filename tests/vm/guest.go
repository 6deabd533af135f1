package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// agent is where this program stands in the machine.
const agent = "/usr/local/sbin/gantry-vm"

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// unit runs the job under systemd. Delegate, so that the job may make cgroups below its own.
const unit = `[Unit]
Description=The command that this machine was booted for
After=basic.target dbus.socket systemd-logind.service user@1000.service
Wants=dbus.socket systemd-logind.service
[Service]
ExecStart=` + agent + " " + runJobArg + `
Environment=HOME=/root
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
`

// mount is one mount of the machine.
type mount struct {
	source, target, fstype, data string
	flags                        uintptr
}

// firstMounts are made before the root is, and move into it. systemd takes them as they are.
var firstMounts = []mount{
	{"proc", "/proc", "proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"sysfs", "/sys", "sysfs", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"devtmpfs", "/dev", "devtmpfs", "mode=0755", unix.MS_NOSUID},
}

// rootMounts are made in the root, before the payload is unpacked. /tmp is the disk's, as
// in Debian.
var rootMounts = []mount{
	{"tmpfs", "/run", "tmpfs", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
}

// ownMounts are those that systemd would make.
var ownMounts = []mount{
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", "nsdelegate,memory_recursiveprot", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"securityfs", "/sys/kernel/security", "securityfs", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"bpf", "/sys/fs/bpf", "bpf", "mode=0700", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"devpts", "/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666", unix.MS_NOSUID | unix.MS_NOEXEC},
	{"tmpfs", "/dev/shm", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
	{"mqueue", "/dev/mqueue", "mqueue", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"hugetlbfs", "/dev/hugepages", "hugetlbfs", "", unix.MS_NOSUID | unix.MS_NODEV},
}

// devices is what udev would do. The modules make device nodes; bfq is the scheduler that
// knows weights.
const devices = `
modprobe -a loop tun fuse bfq
chmod 0666 /dev/net/tun /dev/fuse
echo bfq >/sys/block/vda/queue/scheduler
`

// bringUp is what else systemd would do.
const bringUp = `
ip link set lo up
ln -s /proc/self/fd /dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "/dev/${n#*:}"; done
[ ! -d /sys/fs/selinux ] || load_policy -i
`

// firstProcess is process 1 of the machine. It does not return.
func firstProcess() {
	err := startMachine()
	fmt.Fprintln(os.Stderr, "gantry-vm: first process:", err) // to the console
	powerOff()
}

func startMachine() error {
	if err := mountAll(firstMounts); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := enterRoot(); err != nil {
		return err
	}
	if err := mountAll(rootMounts); err != nil {
		return err
	}
	if err := unpack("/dev/vdb"); err != nil {
		return err
	}
	j, err := readJob()
	if err != nil {
		return err
	}
	if err := shell(devices); err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	if j.Init == initSystemd {
		return execSystemd()
	}
	if err := mountAll(ownMounts); err != nil {
		return err
	}
	return serveJob()
}

func mountAll(list []mount) error {
	for _, m := range list {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

func loadModules() error {
	files, err := filepath.Glob("/modules/*.ko*")
	if err != nil {
		return err
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		flags := 0
		if strings.HasSuffix(file, ".xz") {
			flags = unix.MODULE_INIT_COMPRESSED_FILE
		}
		err = unix.FinitModule(int(f.Fd()), "", flags)
		f.Close()
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// enterRoot mounts the disk and makes it the root, with this program in it, as
// switch_root(8) does.
func enterRoot() error {
	if err := waitFor("/dev/vda"); err != nil {
		return err
	}
	if err := unix.Mount("/dev/vda", "/root", "ext4", unix.MS_NOATIME, "noinit_itable"); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	self, err := os.ReadFile("/init")
	if err != nil {
		return err
	}
	if err := os.WriteFile("/root"+agent, self, 0o755); err != nil {
		return err
	}
	for _, m := range firstMounts {
		if err := unix.Mount(m.target, "/root"+m.target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", m.target, err)
		}
	}
	if err := os.Remove("/init"); err != nil {
		return err
	}
	if err := unix.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// waitFor waits for a file that the kernel makes.
func waitFor(file string) error {
	for range 500 {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not appear", file)
}

func execSystemd() error {
	const dir = "/run/systemd/system"
	if err := os.MkdirAll(dir+"/multi-user.target.wants", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/gantry-vm.service", []byte(unit), 0o644); err != nil {
		return err
	}
	if err := os.Symlink("../gantry-vm.service", dir+"/multi-user.target.wants/gantry-vm.service"); err != nil {
		return err
	}
	return unix.Exec("/lib/systemd/systemd", []string{"/lib/systemd/systemd"}, []string{"PATH=" + searchPath})
}

// shell runs a script.
func shell(script string) error {
	cmd := exec.Command("/bin/sh", "-ec", script)
	cmd.Env = []string{"PATH=" + searchPath}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// serveJob is the rest of our own first process: it starts the job, and buries the
// orphans until the job powers the machine off.
func serveJob() error {
	if err := unix.Sethostname([]byte("gantry-vm")); err != nil {
		return err
	}
	if err := shell(bringUp); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	cmd := exec.Command(agent, runJobArg)
	cmd.Env = []string{"PATH=" + searchPath, "HOME=/root"}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if err != nil && err != unix.EINTR {
			return err
		}
		if pid == cmd.Process.Pid {
			return errors.New("the job ended without powering off")
		}
	}
}

func readJob() (*task, error) {
	text, err := os.ReadFile(jobFile)
	if err != nil {
		return nil, err
	}
	j := &task{}
	return j, json.Unmarshal(text, j)
}

// runJob runs the command and powers the machine off. It does not return.
func runJob() {
	if err := performJob(); err != nil {
		fmt.Fprintln(os.Stderr, "gantry-vm: job:", err) // to the console, or the journal
	}
	powerOff()
}

func performJob() error {
	j, err := readJob()
	if err != nil {
		return err
	}
	output, err := openPort(outputPort)
	if err != nil {
		return err
	}
	exit, err := openPort(exitPort)
	if err != nil {
		return err
	}
	cmd := exec.Command(j.Command[0], j.Command[1:]...)
	cmd.Dir = "/"
	// A pipe, not the port itself: /dev/stdout could not be opened a second time.
	out := struct{ io.Writer }{output}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 2 * time.Second // for what a daemon would still hold open
	code := 127
	if err = cmd.Run(); cmd.ProcessState != nil {
		code = cmd.ProcessState.ExitCode()
	} else {
		fmt.Fprintln(output, "gantry-vm:", err)
	}
	if code < 0 {
		fmt.Fprintln(output, "gantry-vm:", err)
		code = 128
	}
	_, err = fmt.Fprintln(exit, code)
	return err
}

// openPort opens the virtio port of this name.
func openPort(name string) (*os.File, error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == name {
			return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(file))), os.O_WRONLY, 0)
		}
	}
	return nil, fmt.Errorf("no port %s among %v", name, files)
}

// powerOff ends the machine at once: there is nothing to save.
func powerOff() {
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Fprintln(os.Stderr, "gantry-vm: power off:", err)
	os.Exit(1) // which is a panic for the kernel, when process 1 does it, and that ends qemu
}
