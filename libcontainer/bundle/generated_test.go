package bundle

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestGeneratedDecoderIsUpToDate(t *testing.T) { upToDate(t, "decode.go") }
func TestGeneratedEncoderIsUpToDate(t *testing.T) { upToDate(t, "encode.go") }

func upToDate(t *testing.T, file string) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(source), "\n//go:generate ")
	line, _, _ := strings.Cut(rest, "\n")
	command := append(strings.Fields(line), "-check")
	if command[0] != "go" {
		t.Fatalf("directive not found: %q", command)
	}
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
