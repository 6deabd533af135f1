package shim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// logName is the fifo in a bundle into which its shim writes its log.
const logName = "log"

// logReader copies a shim's log into ours.
type logReader struct{ file *os.File }

// openLog makes the fifo, if it is not there, and begins to read. Both ends are open here, so that a shim never waits
// for a reader, and the end of one writer is not that of the log.
func openLog(b *bundle.Bundle) (*logReader, error) {
	path := filepath.Join(b.Path, logName)
	if err := unix.Mkfifo(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("shim log: mkfifo %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("shim log: %w", err)
	}
	info, err := file.Stat()
	if err == nil && info.Mode().Type() != fs.ModeNamedPipe {
		err = fmt.Errorf("shim log: %s is no fifo", path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	l := &logReader{file}
	go l.copy(slog.With("namespace", b.Namespace, "id", b.ID))
	return l, nil
}

func (l *logReader) close() { l.file.Close() }

// copy ends with close. A line that is longer than the buffer becomes several.
func (l *logReader) copy(to *slog.Logger) {
	lines := bufio.NewReaderSize(l.file, 16<<10)
	for {
		line, _, err := lines.ReadLine()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				to.Warn("shim log", "error", err)
			}
			return
		}
		if len(line) > 0 {
			to.Log(context.Background(), levelOf(line), "shim: "+string(line))
		}
	}
}

// levelOf finds the level of a line as slog and logrus write it.
func levelOf(line []byte) slog.Level {
	_, rest, _ := bytes.Cut(line, []byte("level="))
	word, _, _ := bytes.Cut(rest, []byte(" "))
	switch string(bytes.ToLower(bytes.Trim(word, `"`))) {
	case "trace", "debug":
		return slog.LevelDebug
	case "warn", "warning":
		return slog.LevelWarn
	case "error", "fatal", "panic":
		return slog.LevelError
	}
	return slog.LevelInfo
}
