package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/manager/config"
)

func TestFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte("root = '/file'\n[ttrpc]\naddress = '/file.ttrpc'\n[debug]\nlevel = 'warn'"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want func(*config.Config)
	}{
		{[]string{"-c", file}, func(c *config.Config) {
			c.Root, c.TTRPC.Address, c.Debug.Level = "/file", "/file.ttrpc", "warn"
		}},
		// As containerd's client suite starts its daemon.
		{[]string{"--root", "/r", "--state", "/s", "--log-level", "debug", "--config", file, "--address", "/a"}, func(c *config.Config) {
			c.Root, c.State, c.Debug.Level = "/r", "/s", "debug"
			c.GRPC.Address, c.TTRPC.Address = "/a", "/a.ttrpc"
		}},
		{[]string{"-config=" + file, "-a", "/a", "-l", "error"}, func(c *config.Config) {
			c.Root, c.Debug.Level = "/file", "error"
			c.GRPC.Address, c.TTRPC.Address = "/a", "/a.ttrpc"
		}},
	} {
		f, err := parse(c.args)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.settings()
		if err != nil {
			t.Fatal(err)
		}
		want := config.Default()
		c.want(&want)
		if err := want.Complete(); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", c.args, d)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args      string
		out, fail string
	}{
		{"--version", "gantry-manager unknown unknown (API of containerd 2.", ""},
		{"-v", "gantry-manager", ""},
		{"help", "usage: gantry-manager", ""},
		{"-h", "usage: gantry-manager", ""},
		{"config default", "root = '/var/lib/gantry'", ""},
		{"--root /r config dump", "root = '/r'", ""},
		{"--state relative config dump", "state = '/", ""},
		{"--log-level loud config dump", "", "debug.level"},
		{"--config /nonexistent config dump", "", "/nonexistent"},
		{"--config /nonexistent", "", "/nonexistent"},
		{"--surprise", "", "surprise"},
		{"frob nicate", "", `unknown command "frob nicate"`},
	} {
		var out bytes.Buffer
		err := run(strings.Fields(c.args), &out)
		if c.fail == "" && err != nil || c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
			t.Errorf("%s: error %v, want %q in it", c.args, err, c.fail)
		}
		if !strings.Contains(out.String(), c.out) {
			t.Errorf("%s: got %q, want %q in it", c.args, out.String(), c.out)
		}
	}
}

func TestLog(t *testing.T) {
	before := slog.Default()
	t.Cleanup(func() {
		slog.SetDefault(before)
		logrus.SetOutput(os.Stderr)
		logrus.SetFormatter(&logrus.TextFormatter{})
	})
	var out bytes.Buffer
	if err := startLog(&out, config.Debug{Level: "info", Format: "json"}); err != nil {
		t.Fatal(err)
	}
	slog.Debug("too quiet")
	slog.Warn("ours", "n", 1)
	logrus.Debug("too quiet")
	logrus.WithError(errors.New("cause")).WithField("a", "b").Warn("borrowed")
	type line struct {
		Level, Msg, Error, A string
		N                    int
	}
	var got []line
	for d := json.NewDecoder(&out); ; {
		var l line
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	want := []line{{Level: "warn", Msg: "ours", N: 1}, {Level: "warn", Msg: "borrowed", Error: "cause", A: "b"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, word := range config.Levels {
		if err := startLog(&out, config.Debug{Level: word, Format: "text"}); err != nil {
			t.Error(err)
		}
	}
	if err := startLog(&out, config.Debug{Level: "loud"}); err == nil {
		t.Error("a level that is none was taken")
	}
}

func TestNotify(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@gantry-test-notify"} {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		t.Setenv("NOTIFY_SOCKET", name)
		notify("READY=1")
		text := make([]byte, 64)
		n, err := c.Read(text)
		if err != nil || string(text[:n]) != "READY=1" {
			t.Errorf("%s: %q, %v", name, text[:n], err)
		}
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	notify("READY=1") // goes on
}

// What a shim's end brings about is no error; anything else that a library calls one is.
func TestExpected(t *testing.T) {
	old := slog.Default()
	t.Cleanup(func() {
		slog.SetDefault(old)
		logrus.SetOutput(os.Stderr)
		logrus.SetFormatter(&logrus.TextFormatter{})
	})
	var out bytes.Buffer
	if err := startLog(&out, config.Debug{Level: "info", Format: "text"}); err != nil {
		t.Fatal(err)
	}
	logrus.WithError(fmt.Errorf("write: %w", unix.EPIPE)).Error("failed sending message on channel")
	logrus.WithField("stream", 5).Error("ttrpc: received message on inactive stream")
	if out.Len() > 0 {
		t.Errorf("told: %s", &out)
	}
	logrus.WithError(unix.EIO).Error("failed sending message on channel")
	logrus.Error("broken")
	if n := strings.Count(out.String(), "level=error"); n != 2 {
		t.Errorf("%d errors in %s", n, &out)
	}
}
