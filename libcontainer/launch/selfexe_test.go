package launch

import (
	"bytes"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSealedCopyIsThisProgramForGood(t *testing.T) {
	fd, err := SealedCopy()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	file := "/proc/self/fd/" + strconv.Itoa(fd)
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes, other than the %d of the program", len(got), len(want))
	}
	if err := unix.Access(file, unix.X_OK); err != nil {
		t.Errorf("is not executable: %v", err)
	}
	if n, err := unix.Pwrite(fd, []byte("x"), 0); err == nil {
		t.Errorf("took %d bytes more", n)
	}
	if err := unix.Ftruncate(fd, 0); err == nil {
		t.Error("could be emptied")
	}
}

func TestOnlySealedBinariesCountAsSealed(t *testing.T) {
	fd, err := executableMemfd("test")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if isSealed(fd) {
		t.Error("a new memfd counts as sealed")
	}
	if err := sealBinary(fd); err != nil || !isSealed(fd) {
		t.Errorf("sealed: %v, error %v", isSealed(fd), err)
	}
	if runsSealed() {
		t.Error("the test's own file counts as sealed")
	}
}
