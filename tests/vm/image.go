package main

import (
	"context"
	"crypto/sha256"
	_ "embed" // this file is part of the image's name
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// recipe is this file: what changes it makes another image.
//
//go:embed image.go
var recipe []byte

const (
	suite  = "bookworm"
	mirror = "http://deb.debian.org/debian"
	kernel = "linux-image-amd64"
)

// packages are what debootstrap adds to its minimal system for every image.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd",
	"apparmor", "apparmor-utils", "criu", "iptables", "selinux-policy-default",
	"iproute2", "kmod", "procps", "uidmap",
	"busybox-static", "jq", // for hack/make-bundle
	"libcap2-bin", "strace", // what tests look with
	"runc", // what some compare with
}

// morePackages are what a kind of image has beside those.
var morePackages = map[string][]string{
	imageBase: nil,
	imageClients: {
		"containerd", "docker.io", "podman", "buildah", "conmon", "catatonit", "netavark", "aardvark-dns",
		"nftables", "slirp4netns", "fuse-overlayfs", "fuse3", "ca-certificates", "docker-registry",
	},
}

// The kinds of images.
const (
	imageBase    = "base"
	imageClients = "clients" // what people run above runc; none of the daemons starts by itself
)

// early are the modules without which the first process can't reach its disks.
var early = []string{"virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4"}

// noModules are trees of modules that no test will ask for, a third of them all.
var noModules = []string{"sound", "drivers/gpu", "drivers/media", "drivers/net/wireless", "drivers/staging"}

// setup is run inside the new system.
const setup = `set -eu
depmod "$1"
useradd -m -u 1000 -s /bin/sh user
printf 'user:100000:65536\n' | tee /etc/subuid >/etc/subgid
mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/user
echo gantry-vm >/etc/hostname
echo '127.0.0.1 localhost gantry-vm' >/etc/hosts
systemd-machine-id-setup >/dev/null
systemctl mask -q getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service
for unit in docker.service docker.socket docker-registry.service containerd.service podman.service podman.socket podman-auto-update.timer podman-restart.service; do
	[ ! -e /lib/systemd/system/$unit ] || systemctl mask -q $unit
done
rm -rf /var/cache/apt /var/lib/apt/lists /usr/share/doc /usr/share/man /usr/share/locale
# SELinux's labels, for boots that ask for it. setfiles names files by their descriptors in /proc.
mount -t proc proc /proc
setfiles -F -c /etc/selinux/default/policy/policy.* /etc/selinux/default/contexts/files/file_contexts /
`

// image is a built image: a directory with the kernel, a root disk, and the early modules
// in the order of their loading.
type image string

func (i image) kernel() string { return filepath.Join(string(i), "vmlinuz") }
func (i image) disk() string   { return filepath.Join(string(i), "root.ext4") }
func (i image) early() string  { return filepath.Join(string(i), "early") }

// findImage returns the image of a kind, and builds it when there is none of this recipe.
// kernelPackage is a file with another kernel; "" for Debian's present one.
func findImage(ctx context.Context, kind, kernelPackage string) (image, error) {
	cache := os.Getenv("GANTRY_VM_CACHE")
	if cache == "" {
		cache = "/var/cache/gantry-vm"
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s-%.8x", kind, sha256.Sum256(recipe))
	if kernelPackage != "" {
		name += "-" + strings.TrimSuffix(filepath.Base(kernelPackage), ".deb")
		if kernelPackage, err = filepath.Abs(kernelPackage); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return image(dir), err
	}
	fmt.Fprintln(os.Stderr, "vm: building the image; this takes minutes:", kind)
	start := time.Now()
	work, err := os.MkdirTemp(cache, "building-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	b := builder{ctx: ctx, dir: work, packages: slices.Concat(packages, morePackages[kind]), kernelPackage: kernelPackage}
	if err := b.build(); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "vm: image built in %v\n", time.Since(start).Round(time.Second))
	return image(dir), os.Rename(filepath.Join(work, "image"), dir)
}

// builder builds an image in a directory.
type builder struct {
	ctx           context.Context
	dir           string
	packages      []string
	kernelPackage string
}

func (b *builder) path(names ...string) string {
	return filepath.Join(append([]string{b.dir}, names...)...)
}

func (b *builder) build() error {
	root := b.path("root")
	if err := b.command("debootstrap", "--variant=minbase", "--include="+strings.Join(b.packages, ","), suite, root, mirror); err != nil {
		return err
	}
	version, err := b.unpackKernel()
	if err != nil {
		return err
	}
	if err := b.command("chroot", root, "sh", "-c", setup, "setup", version); err != nil {
		return err
	}
	if err := b.collectEarly(filepath.Join(root, "usr/lib/modules", version)); err != nil {
		return err
	}
	return b.command("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", root, b.path("image", "root.ext4"), "4G")
}

// unpackKernel puts the kernel into the image and its modules into the root.
func (b *builder) unpackKernel() (version string, err error) {
	fetch := "cp " + b.kernelPackage + " ."
	if b.kernelPackage == "" {
		name, err := debianKernel(b.ctx)
		if err != nil {
			return "", err
		}
		fetch = "apt-get download -q " + name // into the working directory
	}
	if err := b.command("sh", "-c", fetch+" && dpkg-deb -x linux-image-*.deb kernel && mkdir -p image root/usr/lib/modules"); err != nil {
		return "", err
	}
	found, err := filepath.Glob(b.path("kernel/boot/vmlinuz-*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("the package has not one kernel but %v", found)
	}
	version = strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-")
	modules := b.path("kernel/lib/modules", version)
	for _, tree := range noModules {
		if err := os.RemoveAll(filepath.Join(modules, "kernel", tree)); err != nil {
			return "", err
		}
	}
	if err := os.Rename(modules, b.path("root/usr/lib/modules", version)); err != nil {
		return "", err
	}
	return version, os.Rename(b.path("kernel/boot", "vmlinuz-"+version), b.path("image/vmlinuz"))
}

// debianKernel is the name of the package that has the kernel.
func debianKernel(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "--important", kernel).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache: %w", err)
	}
	_, name, ok := strings.Cut(string(out), "Depends: ")
	if !ok {
		return "", fmt.Errorf("apt-cache knows no %s: run apt-get update", kernel)
	}
	return strings.TrimSpace(name), nil
}

// collectEarly copies the early modules and what they need, by modules.dep(5), to files
// whose names sort in the order of loading.
func (b *builder) collectEarly(modules string) error {
	deps, err := os.ReadFile(filepath.Join(modules, "modules.dep"))
	if err != nil {
		return err
	}
	var order []string
	for _, name := range early {
		for line := range strings.Lines(string(deps)) {
			file, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
			if strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".xz"), ".ko") != name {
				continue
			}
			// What is needed first comes last.
			list := append([]string{file}, strings.Fields(needs)...)
			slices.Reverse(list)
			order = append(order, list...)
		}
	}
	if err := os.Mkdir(b.path("image/early"), 0o755); err != nil {
		return err
	}
	done := map[string]bool{}
	for i, file := range order {
		if done[file] {
			continue
		}
		done[file] = true
		to := b.path("image/early", fmt.Sprintf("%02d-%s", i, filepath.Base(file)))
		if err := os.Link(filepath.Join(modules, file), to); err != nil {
			return err
		}
	}
	return nil
}

// command runs a program in the build's directory. Its mounts are its own, so that none is
// left on this machine whatever happens.
func (b *builder) command(name string, args ...string) error {
	cmd := exec.CommandContext(b.ctx, name, args...)
	cmd.Dir = b.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, log.String())
	}
	return nil
}
