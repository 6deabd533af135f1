package shim

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/harness"
)

type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// A shim's lines are in our log, with their level and whose they are; its end is not that of the fifo.
func TestShimLog(t *testing.T) {
	var out safeBuffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	b := newFakes(t, "new").bundle("a")
	log, err := openLog(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`time=x level=error msg="it broke" y=z` + "\n", "level=warning\nlevel=DEBUG x\n\nplain\n", strings.Repeat("x", 50000) + "\n"} {
		shim, err := os.OpenFile(filepath.Join(b.Path, "log"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := shim.WriteString(text); err != nil {
			t.Error(err)
		}
		shim.Close()
	}
	for _, want := range []string{
		`level=ERROR msg="shim: time=x level=error msg=\"it broke\" y=z" namespace=test id=a`,
		`level=WARN msg="shim: level=warning"`, `level=DEBUG msg="shim: level=DEBUG x"`, `level=INFO msg="shim: plain"`, "xxxx",
	} {
		if !harness.Until(10*time.Second, func() bool { return strings.Contains(out.String(), want) }) {
			t.Errorf("%s is missing in %.500s", want, out.String())
		}
	}
	log.close()
	again, err := openLog(b)
	if err != nil {
		t.Fatal(err)
	}
	again.close()
}

// What lies in the fifo's place is not followed.
func TestShimLogIsAFifo(t *testing.T) {
	b := newFakes(t, "new").bundle("a")
	path := filepath.Join(b.Path, "log")
	if err := os.Symlink("/dev/null", path); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(b); err == nil {
		t.Error("a link is followed")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(b); err == nil {
		t.Error("a file is taken for a fifo")
	}
}
