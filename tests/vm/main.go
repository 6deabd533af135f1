// Command vm boots Debian's kernel under qemu, runs a command as root inside, and ends with
// its exit code. hack/vm builds and runs it; the same program is the machine's first process.
//
// Nothing here needs KVM. The disk is a snapshot, so that every machine starts clean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const usage = `usage: hack/vm [OPTION]... -- COMMAND [ARG]...

Boots Debian 12 (kernel 6.1, pure cgroup v2) under qemu without KVM, runs COMMAND as root
inside, shows its output and ends with its exit code: 125 when the machine itself fails.
Every run starts with a clean disk; nothing written inside survives.

  hack/vm -- cat /proc/version
  hack/vm --add bin/runc:/usr/local/sbin/runc -- runc features
  hack/vm --init systemd -- systemctl is-system-running --wait
  hack/vm --qemu '-numa node,cpus=0,mem=1G -numa node,cpus=1,mem=1G' -- ls /sys/devices/system/node

  CGO_ENABLED=0 go test -tags urfave_cli_no_docs -c -o /tmp/root.test ./tests/root
  hack/vm --add /tmp/root.test:/root.test -- /root.test -test.v -test.run TestX

The image is built on first use, and again when its recipe (tests/vm/image.go) changes. It
and the kernel are kept in $GANTRY_VM_CACHE, by default /var/cache/gantry-vm. Inside there
are AppArmor (active), SELinux (with --append 'security=selinux selinux=1 enforcing=0'),
CRIU, every kernel module but those for sound, video and radio, and a user called user
(uid 1000, subordinate ids from 100000).

Options:
`

// machine is what the command line asks for.
type machine struct {
	image   string
	init    string
	append  string
	qemu    string
	memory  string
	kernel  string
	verbose bool
	timeout time.Duration
	add     []addition
	command []string
}

// addition is a file or directory that is copied into the machine.
type addition struct{ from, to string }

func main() {
	if os.Getpid() == 1 {
		firstProcess()
	}
	if len(os.Args) == 2 && os.Args[1] == runJobArg {
		runJob()
	}
	m, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	code, err := m.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		code = 125
	}
	os.Exit(code)
}

func parse(args []string) (*machine, error) {
	m := &machine{}
	flags := flag.NewFlagSet("vm", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&m.init, "init", initOwn, "what the first process is: "+initOwn+", or "+initSystemd)
	flags.StringVar(&m.image, "image", imageBase, "what is installed: "+imageBase+", or "+imageClients+", which has Docker, containerd, podman and buildah, too")
	flags.StringVar(&m.append, "append", "", "more for the kernel's command line")
	flags.StringVar(&m.qemu, "qemu", "", "more arguments of qemu, split at spaces")
	flags.StringVar(&m.memory, "memory", "2G", "memory of the machine")
	flags.StringVar(&m.kernel, "kernel", "", "boot the kernel of this Debian `PACKAGE` (a linux-image-*.deb file), in an image of its own")
	flags.BoolVar(&m.verbose, "verbose", false, "show the kernel's console on stderr")
	flags.DurationVar(&m.timeout, "timeout", 10*time.Minute, "kill the machine after this time")
	flags.Func("add", "copy `HOSTPATH:GUESTPATH`, a file or a directory, into the machine; may be repeated", func(v string) error {
		from, to, ok := strings.Cut(v, ":")
		if !ok || from == "" || !strings.HasPrefix(to, "/") {
			return errors.New("want HOSTPATH:/GUESTPATH")
		}
		m.add = append(m.add, addition{from, to})
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	m.command = flags.Args()
	if _, ok := morePackages[m.image]; !ok {
		fmt.Fprintln(flags.Output(), "vm: no image is called", m.image)
		return nil, errors.New("bad arguments")
	}
	if len(m.command) == 0 || m.init != initOwn && m.init != initSystemd {
		flags.Usage()
		return nil, errors.New("bad arguments")
	}
	return m, nil
}

// run makes what the machine needs in a directory of its own, and boots it.
func (m *machine) run(ctx context.Context) (int, error) {
	img, err := findImage(ctx, m.image, m.kernel)
	if err != nil {
		return 0, fmt.Errorf("image: %w", err)
	}
	dir, err := os.MkdirTemp("", "gantry-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeoutCause(ctx, m.timeout, fmt.Errorf("not done after %v", m.timeout))
	defer cancel()
	return m.boot(ctx, img, dir)
}
