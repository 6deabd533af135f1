package shim

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/tests/harness"
)

// BenchmarkStart is from nothing to a shim that has answered, and BenchmarkShutdown to its end.
func BenchmarkStart(b *testing.B) {
	slog.SetLogLoggerLevel(slog.LevelError)
	for _, binary := range []string{
		filepath.Join(harness.Top(), "bin", "containerd-shim-gantry-v2"),
		filepath.Join(harness.Top(), ".tools", "clients", "bin", "containerd-shim-runc-v2"),
	} {
		b.Run(filepath.Base(binary), func(b *testing.B) {
			dir, err := os.MkdirTemp("", "gs") //nolint:usetesting // a socket's path may not be long
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(dir)
			store := bundle.Store{State: filepath.Join(dir, "s"), Root: filepath.Join(dir, "r")}
			l := New(Config{Address: "/m.sock", TTRPCAddress: "/m.ttrpc", SocketDir: dir})
			for i := 0; b.Loop(); i++ {
				bundle, err := store.Create(b.Context(), "test", fmt.Sprint("b", i), []byte("{}"))
				if err != nil {
					b.Fatal(err)
				}
				s, err := l.Start(b.Context(), bundle, Request{Runtime: binary})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Shutdown(context.Background()); err != nil {
					b.Error(err)
				}
				s.Close() //nolint:errcheck // it has ended
				if err := bundle.Remove(context.Background()); err != nil {
					b.Error(err)
				}
				b.StartTimer()
			}
		})
	}
}
