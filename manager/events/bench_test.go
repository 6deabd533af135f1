package events

import (
	"context"
	"os"
	"sync"
	"testing"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// benchDir is on tmpfs, as the state directory is.
func benchDir(b *testing.B) string {
	b.Helper()
	if info, err := os.Stat("/dev/shm"); err != nil || !info.IsDir() {
		return b.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "gantry-events-") //nolint:usetesting // TempDir is not on tmpfs
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func BenchmarkPublish(b *testing.B) {
	for name, subscribers := range map[string]int{"0 subscribers": 0, "4 subscribers": 4} {
		b.Run(name, func(b *testing.B) {
			l := openLog(b, Config{Dir: benchDir(b)})
			ctx, cancel := context.WithCancel(namespaces.WithNamespace(context.Background(), "moby"))
			var readers sync.WaitGroup
			for range subscribers {
				s := read(b, l, Start{Filters: []string{dockerd}})
				readers.Go(func() {
					for {
						r, err := s.Next(ctx)
						if err != nil {
							return
						}
						s.Sent(r.Sequence)
					}
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Publish(ctx, "/tasks/exit", &apievents.TaskExit{ContainerID: "0123456789abcdef", ID: "0123456789abcdef", Pid: 1234, ExitStatus: 137}); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
			readers.Wait()
		})
	}
}

// BenchmarkDelivery is the time from Publish until four subscribers have said that they sent it.
func BenchmarkDelivery(b *testing.B) {
	l := openLog(b, Config{Dir: benchDir(b)})
	ctx := namespaces.WithNamespace(b.Context(), "moby")
	got := make(chan struct{}, 4)
	for range 4 {
		s := read(b, l, Start{Filters: []string{dockerd}})
		go func() {
			for {
				r, err := s.Next(ctx)
				if err != nil {
					return
				}
				s.Sent(r.Sequence)
				got <- struct{}{}
			}
		}()
	}
	for b.Loop() {
		if err := l.Publish(ctx, "/tasks/exit", &apievents.TaskExit{ContainerID: "a", ID: "a"}); err != nil {
			b.Fatal(err)
		}
		for range 4 {
			<-got
		}
	}
}

func BenchmarkCursorOnDisk(b *testing.B) {
	l := openLog(b, Config{Dir: benchDir(b)})
	s := read(b, l, Start{})
	for n := uint64(0); b.Loop(); n++ {
		s.place.cursor.advance(n)
	}
}

func BenchmarkSent(b *testing.B) {
	l := openLog(b, Config{Dir: benchDir(b)})
	s := read(b, l, Start{})
	for n := uint64(1); b.Loop(); n++ {
		s.Sent(n)
	}
}

// BenchmarkOpen opens a full log.
func BenchmarkOpen(b *testing.B) {
	config := Config{Dir: benchDir(b)}
	l := openLog(b, config)
	for range 65536 {
		if err := l.Forward(b.Context(), envelope("moby", "/tasks/exit", make([]byte, 150))); err != nil {
			b.Fatal(err)
		}
	}
	closeLog(b, l)
	for b.Loop() {
		l, err := Open(config)
		if err != nil {
			b.Fatal(err)
		}
		closeLog(b, l)
	}
}
