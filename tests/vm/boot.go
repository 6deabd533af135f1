package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// commandLine is the kernel's: all controllers are v2's; a panic ends the machine. To read
// the clock from the TSC is cheap under TCG; from the HPET, the kernel's own choice, it is not.
const commandLine = "console=ttyS0 loglevel=4 panic=-1 cgroup_no_v1=all psi=1 systemd.show_status=0 " +
	"tsc=reliable clocksource=tsc "

// processor has everything that TCG can do but two things: five levels of page tables, which
// TCG walks for every miss, and "fast" string instructions, because it does those byte by
// byte; without the flag the kernel and the libraries move eight bytes at a time.
const processor = "max,la57=off,erms=off"

// boot starts qemu and waits for it. The guest's command writes to one virtio port, and its
// exit code to another.
func (m *machine) boot(ctx context.Context, img image, dir string) (int, error) {
	initrd, payload := filepath.Join(dir, "initrd"), filepath.Join(dir, "payload.tar")
	console, exit := filepath.Join(dir, "console"), filepath.Join(dir, "exit")
	if err := writeInitrd(initrd, img.early()); err != nil {
		return 0, fmt.Errorf("initrd: %w", err)
	}
	if err := m.writePayload(payload, jobFile); err != nil {
		return 0, err
	}
	output, guest, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer output.Close()

	serial := "file:" + console
	if m.verbose {
		serial = "file:/dev/fd/2"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg,thread=multi", "-cpu", processor, "-smp", "2", "-m", m.memory,
		"-kernel", img.kernel(), "-initrd", initrd, "-append", commandLine + m.append,
		"-drive", "if=virtio,format=raw,cache=unsafe,snapshot=on,file=" + img.disk(),
		"-drive", "if=virtio,format=raw,readonly=on,file=" + payload,
		"-serial", serial,
		"-device", "virtio-serial-pci",
		"-chardev", "file,id=out,path=/dev/fd/3", "-device", "virtserialport,chardev=out,name=" + outputPort,
		"-chardev", "file,id=exit,path=" + exit, "-device", "virtserialport,chardev=exit,name=" + exitPort,
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append(args, strings.Fields(m.qemu)...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // the snapshot's
	cmd.ExtraFiles = []*os.File{guest}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	// However this process ends, qemu does, too. The signal comes when the thread that
	// started it ends, so that thread stays with this goroutine.
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Start()
	guest.Close()
	if err != nil {
		return 0, err
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(os.Stdout, output)
		copied <- err
	}()
	err = cmd.Wait()
	if err := <-copied; err != nil {
		return 0, err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return verdict(err, exit, console)
}

// verdict is the guest's exit code, or an error with the end of what the kernel said.
func verdict(err error, exit, console string) (int, error) {
	text, readErr := os.ReadFile(exit)
	if code, convErr := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && readErr == nil && convErr == nil {
		return code, nil
	}
	if err == nil {
		err = errors.New("the machine ended without an exit code")
	}
	log, _ := os.ReadFile(console) // none with --verbose
	return 0, fmt.Errorf("%w; its console:\n%s", err, log[max(0, len(log)-4000):])
}
