package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/grpclog"

	"github.com/gantry-containers/gantry/manager/config"
)

// level is a word of config.Levels as slog's number: 4 from one to the next, with info at 0.
func level(word string) (slog.Level, error) {
	i := slices.Index(config.Levels, word)
	if i < 0 {
		return 0, fmt.Errorf("log level %q is none of %q", word, config.Levels)
	}
	return slog.Level((i - slices.Index(config.Levels, "info")) * 4), nil
}

// startLog sets the default logger, and sends there what the borrowed libraries log with logrus.
func startLog(out io.Writer, d config.Debug) error {
	least, err := level(d.Level)
	if err != nil {
		return err
	}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: spellLevel}
	var handler slog.Handler = slog.NewTextHandler(out, options)
	if d.Format == "json" {
		handler = slog.NewJSONHandler(out, options)
	}
	slog.SetDefault(slog.New(handler))

	borrowed := logrus.StandardLogger()
	borrowed.SetOutput(io.Discard)
	borrowed.SetFormatter(bridge{handler})
	borrowedLevel, err := logrus.ParseLevel(d.Level)
	if err != nil {
		return err
	}
	borrowed.SetLevel(borrowedLevel)
	// What gRPC says of connections that come and go is of no use to anybody here.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	return nil
}

// spellLevel writes levels as config.Levels has them.
func spellLevel(groups []string, a slog.Attr) slog.Attr {
	l, ok := a.Value.Any().(slog.Level)
	if len(groups) > 0 || a.Key != slog.LevelKey || !ok {
		return a
	}
	i := int(l)/4 + slices.Index(config.Levels, "info")
	return slog.String(slog.LevelKey, config.Levels[min(max(i, 0), len(config.Levels)-1)])
}

// expected tells what the ttrpc library takes for an error, and happens in the life of each container. A shim of
// containerd's leaves without the answer to its last event: it has sent one at a time, and the answer is what comes after
// the event was taken. And an answer to a question that nobody asks any more, Wait's, has nobody to go to.
func expected(e *logrus.Entry) bool {
	switch e.Message {
	case "failed sending message on channel":
		err, _ := e.Data[logrus.ErrorKey].(error)
		return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed)
	case "ttrpc: received message on inactive stream":
		return true
	}
	return false
}

// bridge is where logrus would make text of an entry: the entry goes to slog's handler instead.
type bridge struct{ to slog.Handler }

// Format hands the entry over and leaves no text.
func (b bridge) Format(e *logrus.Entry) ([]byte, error) {
	l, err := level(e.Level.String())
	if err != nil { // logrus says "warning"
		l = slog.LevelWarn
	}
	if expected(e) {
		l = slog.LevelDebug
	}
	if !b.to.Enabled(context.Background(), l) {
		return nil, nil
	}
	record := slog.NewRecord(e.Time, l, e.Message, 0)
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		record.Add(key, e.Data[key])
	}
	return nil, b.to.Handle(context.Background(), record)
}
