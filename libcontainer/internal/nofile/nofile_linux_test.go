//go:build amd64 || arm64 || riscv64

package nofile_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/gantry-containers/gantry/libcontainer/internal/nofile"
)

const childEnv = "GANTRY_NOFILE_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	soft, hard, ok := nofile.Inherited()
	fmt.Println(soft, hard, ok, now.Cur > soft)
}

func TestInheritedIsTheLimitFromBeforeGoRaisedIt(t *testing.T) {
	for _, limits := range []string{"100 200", "150 151", "200 200"} {
		soft, hard, _ := strings.Cut(limits, " ")
		t.Run("soft "+soft+" and hard "+hard, func(t *testing.T) {
			script := "ulimit -Hn " + hard + " && ulimit -Sn " + soft + ` && exec "$0"`
			cmd := exec.Command("/bin/sh", "-c", "ulimit -Sn "+soft+" && "+script, os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("child: %v: %s", err, out)
			}
			// syscall's init raises the soft limit to just below the hard one.
			raised := soft == "100"
			want := fmt.Sprintf("%s %s true %v\n", soft, hard, raised)
			if string(out) != want {
				t.Errorf("child printed %q, want %q", out, want)
			}
		})
	}
}
