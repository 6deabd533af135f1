package main

import (
	"io"
	"log/slog"

	"golang.org/x/sys/unix"
)

// logTo sends the log to the daemon, which copies it to its own.
func logTo(w io.Writer, debug bool) {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})))
}

// fifo writes to a descriptor that is non-blocking, and drops what it does not take: nobody may wait for the reader of
// a log.
type fifo int

func (f fifo) Write(line []byte) (int, error) {
	if _, err := unix.Write(int(f), line); err != nil && err != unix.EAGAIN {
		return 0, err
	}
	return len(line), nil
}
