package root_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gantry-containers/gantry/tests/harness"
)

// asOldKernel has the kernel say that it is Linux 2.6, personality(2) UNAME26.
func asOldKernel(cmd *exec.Cmd) {
	cmd.Args = append([]string{"setarch", "--uname-2.6", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/usr/bin/setarch"
}

// TestOldKernelIsRefused: nothing is started under a kernel older than 5.10, and what is there
// can still be looked at and taken away.
func TestOldKernelIsRefused(t *testing.T) {
	harness.NeedRoot(t)
	if out, err := exec.Command("setarch", "--uname-2.6", "uname", "-r").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "2.6.") {
		t.Skipf("needs setarch of util-linux and a kernel with UNAME26: %s%v", out, err)
	}
	c := start(t, nil)
	bundle := c.Bundle("echo started", nil)
	images := t.TempDir()
	for _, args := range [][]string{
		{"run", "-b", bundle, "new"},
		{"create", "-b", bundle, "new"},
		{"exec", c.id, "true"},
		{"restore", "-b", bundle, "--image-path", images, "new"},
		{"plan", "-b", bundle},
	} {
		t.Run(args[0], func(t *testing.T) {
			log := t.TempDir() + "/log"
			r := c.RunWith(asOldKernel, append([]string{"--log-format", "json", "--log", log}, args...)...)
			wantFailure(t, r, "kernel is too old: it is Linux 2.6, and 5.10 or later is needed")
			line := struct{ Code string }{}
			if err := json.Unmarshal([]byte(read(t, log)), &line); err != nil || line.Code != "kernel-too-old" {
				t.Errorf("code %q, %v; want kernel-too-old", line.Code, err)
			}
			if _, err := os.Stat(c.Root + "/new"); err == nil {
				t.Error("a container's directory was made")
			}
		})
	}
	for _, args := range [][]string{
		{"--version"}, {"features"}, {"spec", "-b", t.TempDir()}, {"list"}, {"state", c.id}, {"ps", c.id}, {"kill", c.id, "KILL"},
	} {
		if r := c.RunWith(asOldKernel, args...); r.Code != 0 {
			t.Errorf("%s: exit %d: %s", args[0], r.Code, r.Stderr)
		}
	}
	c.WaitStatus(c.id, "stopped")
	if r := c.RunWith(asOldKernel, "delete", c.id); r.Code != 0 {
		t.Errorf("delete: exit %d: %s", r.Code, r.Stderr)
	}
}
