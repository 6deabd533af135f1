package faults_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

func absent(err error) bool { return errdefs.IsNotFound(err) }

// number is an environment variable's, or the other.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestKilledAnywhere ends the engine, by SIGTERM and SIGKILL in turn, at random moments of what clients do. After each
// of its restarts what was acknowledged is there, and everything can be read. Who is attached to a container or to a
// further process in one goes on through all of it, and no line of a log is lost or doubled. At the end nothing is left.
// GANTRY_KILLS is how often, GANTRY_SEED makes the same moments again.
func TestKilledAnywhere(t *testing.T) {
	rounds, seed := number("GANTRY_KILLS", 12), number("GANTRY_SEED", int(time.Now().UnixNano()))
	t.Logf("GANTRY_SEED=%d", seed)
	k := &killed{subject: start(t, docker.Setup{}), random: rand.New(rand.NewPCG(uint64(seed), 0))}
	k.Registry()
	k.prepare()
	lines := k.streams()
	for round := range rounds {
		k.round(round)
	}
	attached, further := lines()
	logged := k.chatty()
	t.Logf("%d kills, %d operations ended before them; slowest answer %v, slowest start %v; %d lines logged, %d through attach, %d through exec",
		rounds, k.done, k.slowest.Round(time.Millisecond), k.longest.Round(time.Millisecond), logged, attached, further)
	k.nothing()
}

// killed is an engine that is ended again and again.
type killed struct {
	*subject
	random  *rand.Rand
	slowest time.Duration // of the answers after a start
	longest time.Duration // from the start of a program to its first answer
	done    int
}

// standing are the containers that live through all of it.
var standing = []string{"chatty", "attached", "further", "healthy", "always", "still", "committed"}

// prepare makes them, and the image in the registry.
func (k *killed) prepare() {
	k.t.Helper()
	k.run(want("chatty", "i=0; while :; do echo $i; i=$((i+1)); usleep 1500; done"))
	attached := want("attached", "while read x; do echo $x; done")
	attached.Config.OpenStdin = true
	k.run(attached)
	k.run(want("further", "sleep 3600"))
	k.run(want("committed", "echo kept > /kept; sleep 3600"))
	healthy := want("healthy", "sleep 3600")
	healthy.Config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "usleep", "100000"}, Interval: 100 * time.Millisecond, Timeout: 5 * time.Second, Retries: 3}
	k.run(healthy)
	always := want("always", "usleep 300000; exit 3")
	always.HostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
	k.run(always)
	if _, err := k.ContainerCreate(limited(k.t, patience), want("still", "true")); err != nil {
		k.t.Fatal(err)
	}
	for _, args := range [][]string{{"tag", busybox, pushed}, {"push", "--quiet", pushed}, {"rmi", pushed}} {
		if err := k.Docker(args...); err != nil {
			k.t.Fatal(err)
		}
	}
}

// pushed is the image in the registry.
const pushed = "127.0.0.1:5000/layered:1"

// round lets clients work, ends the engine, and looks at what the next one knows.
func (k *killed) round(n int) {
	k.t.Helper()
	ctx, cancel := context.WithCancel(k.t.Context())
	var wg sync.WaitGroup
	var workers []*worker
	for i, work := range works {
		w := &worker{killed: k, name: fmt.Sprintf("any-%d-%d", n, i), client: newClient(k.t, k.Engine), random: rand.New(rand.NewPCG(k.random.Uint64(), 0)), failed: make(chan error, 1)}
		workers = append(workers, w)
		wg.Go(func() {
			for m := 0; ctx.Err() == nil; m++ {
				if err := work(w, ctx, fmt.Sprintf("%s-%d", w.name, m)); err != nil {
					w.failed <- err
					return
				}
				w.done++
			}
		})
	}
	time.Sleep(harness.Slow(time.Duration(20+k.random.IntN(980)) * time.Millisecond))
	for _, w := range workers {
		select {
		case err := <-w.failed:
			k.t.Errorf("%s: before the kill: %v", w.name, err)
		default:
		}
	}
	if n%2 == 0 {
		k.Dockerd.Kill()
	} else {
		k.Dockerd.Stop()
	}
	cancel()
	began := time.Now()
	if err := k.Dockerd.Launch(); err != nil {
		k.t.Fatal(err)
	}
	k.first(began)
	k.readable()
	k.wait(&wg)
	for _, w := range workers {
		w.acknowledged()
		k.done += w.done
		_ = w.client.Close()
	}
	k.clear()
}

// wait waits for the clients. One that is attached to a further process hears of its end from the next engine.
func (k *killed) wait(wg *sync.WaitGroup) {
	k.t.Helper()
	ended := make(chan struct{})
	go func() {
		wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(harness.Limit(patience)):
		k.t.Fatal("a client waits for ever")
	}
}

// first waits for the first answer.
func (k *killed) first(began time.Time) {
	k.t.Helper()
	if !harness.Until(patience, func() bool {
		_, err := k.Ping(limited(k.t, patience), client.PingOptions{})
		return err == nil
	}) {
		k.t.Fatalf("it does not answer:\n%s", k.Dockerd.Log())
	}
	k.longest = max(k.longest, time.Since(began))
}

// timed is one of the answers after a start.
func (k *killed) timed(what string, ask func(ctx context.Context) error) {
	k.t.Helper()
	began := time.Now()
	if err := ask(limited(k.t, patience)); err != nil {
		k.t.Errorf("%s: %v", what, err)
	}
	took := time.Since(began)
	if took > harness.Limit(2*time.Second) {
		k.t.Errorf("%s: it took %v", what, took)
	}
	k.slowest = max(k.slowest, took)
}

// readable asks for everything that there is.
func (k *killed) readable() {
	k.t.Helper()
	var list client.ContainerListResult
	k.timed("ps", func(ctx context.Context) (err error) {
		list, err = k.ContainerList(ctx, client.ContainerListOptions{All: true})
		return err
	})
	names := map[string]bool{}
	for _, c := range list.Items {
		for _, name := range c.Names {
			names[strings.TrimPrefix(name, "/")] = true
		}
		k.timed("inspect "+c.ID, func(ctx context.Context) error {
			_, err := k.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
			if absent(err) { // A removal that the kill interrupted goes on.
				err = nil
			}
			return err
		})
	}
	for _, name := range standing {
		if !names[name] {
			k.t.Errorf("ps does not have %s", name)
			continue
		}
		if s := k.inspect(name).State; name != "still" && name != "always" && (!s.Running || s.Paused || s.Pid == 0) {
			k.t.Errorf("%s does not run: %+v", name, s)
		}
	}
	var images client.ImageListResult
	k.timed("images", func(ctx context.Context) (err error) {
		images, err = k.ImageList(ctx, client.ImageListOptions{All: true})
		return err
	})
	if !slices.ContainsFunc(images.Items, func(i imageSummary) bool { return slices.Contains(i.RepoTags, busybox) }) {
		k.t.Errorf("images does not have %s", busybox)
	}
	for _, i := range images.Items {
		k.timed("inspect "+i.ID, func(ctx context.Context) error { _, err := k.ImageInspect(ctx, i.ID); return err })
	}
	var volumes client.VolumeListResult
	k.timed("volume ls", func(ctx context.Context) (err error) {
		volumes, err = k.VolumeList(ctx, client.VolumeListOptions{})
		return err
	})
	for _, v := range volumes.Items {
		k.timed("volume inspect", func(ctx context.Context) error {
			_, err := k.VolumeInspect(ctx, v.Name, client.VolumeInspectOptions{})
			return err
		})
	}
	k.timed("info", func(ctx context.Context) error { _, err := k.Info(ctx, client.InfoOptions{}); return err })
}

// clear removes what the workers have made.
func (k *killed) clear() {
	k.t.Helper()
	list, err := k.ContainerList(limited(k.t, patience), client.ContainerListOptions{All: true})
	if err != nil {
		k.t.Error(err)
	}
	for _, c := range list.Items {
		if len(c.Names) == 0 || !slices.Contains(standing, strings.TrimPrefix(c.Names[0], "/")) {
			k.remove(c.ID)
		}
	}
	images, err := k.ImageList(limited(k.t, patience), client.ImageListOptions{})
	if err != nil {
		k.t.Error(err)
	}
	for _, i := range images.Items {
		refs := slices.DeleteFunc(i.RepoTags, func(tag string) bool { return tag == busybox })
		if len(i.RepoTags) == 0 {
			refs = []string{i.ID}
		}
		for _, ref := range refs {
			if _, err := k.ImageRemove(limited(k.t, patience), ref, client.ImageRemoveOptions{Force: true, PruneChildren: true}); err != nil && !absent(err) {
				k.t.Errorf("rmi %s: %v", ref, err)
			}
		}
	}
	volumes, err := k.VolumeList(limited(k.t, patience), client.VolumeListOptions{})
	if err != nil {
		k.t.Error(err)
	}
	for _, v := range volumes.Items {
		if _, err := k.VolumeRemove(limited(k.t, patience), v.Name, client.VolumeRemoveOptions{}); err != nil {
			k.t.Errorf("volume rm %s: %v", v.Name, err)
		}
	}
}

// streams talks to a container and to a further process in another one, until the function is called that says how
// many lines came back. All must, in order.
func (k *killed) streams() func() (attached, further int) {
	k.t.Helper()
	a, err := k.ContainerAttach(context.Background(), "attached", client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		k.t.Fatal(err)
	}
	x, err := k.ExecCreate(limited(k.t, patience), "further", client.ExecCreateOptions{AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: []string{"cat"}})
	if err != nil {
		k.t.Fatal(err)
	}
	e, err := k.ExecAttach(context.Background(), x.ID, client.ExecAttachOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	end := make(chan struct{})
	var wg, running sync.WaitGroup
	running.Add(2) // A client is told before the process runs: the engine must not die in between.
	counts := [2]int{}
	for i, conn := range []client.HijackedResponse{a.HijackedResponse, e.HijackedResponse} {
		wg.Go(func() { counts[i] = k.echo([]string{"attach", "exec"}[i], conn, end, running.Done) })
	}
	running.Wait()
	k.t.Cleanup(func() { a.Close(); e.Close() })
	return func() (int, int) {
		close(end)
		wg.Wait()
		return counts[0], counts[1]
	}
}

// echo writes numbers and wants each back.
func (k *killed) echo(what string, conn client.HijackedResponse, end chan struct{}, runs func()) int {
	answers := bufio.NewScanner(plain(conn.Reader))
	told := sync.OnceFunc(runs)
	defer told()
	for n := 0; ; n++ {
		select {
		case <-end:
			return n
		case <-time.After(2 * time.Millisecond):
		}
		_ = conn.Conn.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintln(conn.Conn, n); err != nil {
			k.t.Errorf("%s: write %d: %v", what, n, err)
			return n
		}
		if !answers.Scan() || answers.Text() != strconv.Itoa(n) {
			k.t.Errorf("%s: read %q, %v; want %d", what, answers.Text(), answers.Err(), n)
			return n
		}
		told()
	}
}

// chatty looks for lines that are lost or doubled.
func (k *killed) chatty() int {
	k.t.Helper()
	lines := strings.Fields(k.logs("chatty"))
	lost, doubled, next := 0, 0, 0
	for _, line := range lines {
		n, err := strconv.Atoi(line)
		switch {
		case err != nil:
			k.t.Errorf("line %q", line)
			continue
		case n > next:
			lost += n - next
		case n < next:
			doubled++
		}
		next = n + 1
	}
	if lost != 0 || doubled != 0 || len(lines) == 0 {
		k.t.Errorf("%d lines: %d lost, %d doubled", len(lines), lost, doubled)
	}
	return len(lines)
}
