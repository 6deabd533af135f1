package manager_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestWalk types every verb of ctr at our manager and at the newest containerd. They must answer the same, but for
// times, process ids and the names of their places.
func TestWalk(t *testing.T) {
	harness.NeedRoot(t)
	registry := startRegistry(t)
	daemons := pair(t)
	for _, w := range []walk{
		{name: "1.6", ctr: compat.Debian(t, "ctr"), holds: []string{"1.6"}},
		{name: "2.4", ctr: compat.Newest(t, "ctr"), holds: []string{"2.4", "transfer"}},
		{name: "2.4-local", ctr: compat.Newest(t, "ctr"), holds: []string{"2.4", "local"}, local: "--local"},
	} {
		w.registry = registry
		t.Run(w.name, func(t *testing.T) { w.compare(t, daemons, "testdata/walk.txt") })
		t.Run(w.name+"-checkpoint", func(t *testing.T) {
			harness.Need(t, harness.CRIU)
			w.compare(t, daemons, "testdata/checkpoint.txt")
		})
	}
}

// pair starts the manager and the containerd that it is compared with, over the same shim.
func pair(t *testing.T) [2]*compat.Containerd {
	t.Helper()
	shim := compat.Shim(t, compat.Gantry)
	return [2]*compat.Containerd{
		compat.StartContainerd(t, compat.Gantry, shim),
		compat.StartContainerd(t, compat.Containerd24, shim),
	}
}

// walk is one way to type.
type walk struct {
	name, ctr, registry string
	local               string   // the flag that has ctr do itself what the daemon could
	holds               []string // conditions of lines
}

// compare walks through both daemons at the same time.
func (w walk) compare(t *testing.T, daemons [2]*compat.Containerd, script string) {
	t.Helper()
	steps := parseWalk(t, script, w.holds)
	var said [2][]string
	var wg sync.WaitGroup
	for i, d := range daemons {
		client := d.Client(harness.Runtime(t))
		wg.Go(func() { said[i] = w.walk(t, client, steps) })
	}
	wg.Wait()
	if len(said[0]) != len(said[1]) {
		t.Fatalf("the walk through the manager ends after %d steps, that through containerd after %d", len(said[0]), len(said[1]))
	}
	steps = append(steps, step{command: "events"})
	for i := range said[0] {
		if diff := cmp.Diff(said[1][i], said[0][i]); diff != "" && !steps[i].differs {
			t.Errorf("%s:%d: %s: (-containerd +manager):\n%s", script, steps[i].line, steps[i].command, diff)
		}
	}
}

// step is a command and what it must do.
type step struct {
	line    int
	command string
	fails   bool
	differs bool             // its output is not compared
	want    []*regexp.Regexp // of the output, stderr and stdout
}

// parseWalk reads a script. A line is a command for sh, after conditions "[NAME]", "!" where it must fail, and "~" where the
// daemons may answer differently; lines that begin with ">" are what the output must have, as regular expressions.
func parseWalk(t *testing.T, script string, holds []string) []step {
	t.Helper()
	b, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	skipped := false
	for i, line := range strings.Split(string(b), "\n") {
		if want, ok := strings.CutPrefix(line, "> "); ok {
			if !skipped {
				last := &steps[len(steps)-1]
				last.want = append(last.want, regexp.MustCompile("(?m)"+want))
			}
			continue
		}
		s := step{line: i + 1, command: line}
		if skipped = !s.applies(holds); skipped || s.command == "" || s.command[0] == '#' {
			continue
		}
		s.command, s.fails = strings.CutPrefix(s.command, "! ")
		s.command, s.differs = strings.CutPrefix(s.command, "~ ")
		steps = append(steps, s)
	}
	return steps
}

var condition = regexp.MustCompile(`^\[([a-z0-9.]+)\] `)

// applies takes the conditions off the line.
func (s *step) applies(holds []string) bool {
	for m := condition.FindStringSubmatch(s.command); m != nil; m = condition.FindStringSubmatch(s.command) {
		if !slices.Contains(holds, m[1]) {
			return false
		}
		s.command = s.command[len(m[0]):]
	}
	return true
}

// walk returns what each step says, masked, and at last what was told of it all. It ends with the first that does not do what it must.
func (w walk) walk(t *testing.T, c *compat.Client, steps []step) (said []string) {
	dir := t.TempDir()
	c.Env["CTR"] = w.ctr
	maps.Copy(c.Env, map[string]string{
		"REGISTRY": w.registry + "/" + c.Namespace, "LOCAL": w.local, "NS": c.Namespace,
		"BUSYBOX": filepath.Join(c.Dir, "busybox.tar"), "LAYERED": layered(t).archive(dir),
		"PATH": filepath.Join(c.Dir, "bin") + ":" + os.Getenv("PATH"),
	})
	events := c.Events(t)
	for _, s := range steps {
		out, failed := typed(c, dir, s)
		if failed != s.fails {
			t.Errorf("line %d: %s: fails: %v; want %v\n%s", s.line, s.command, failed, s.fails, out)
			return said
		}
		for _, want := range s.want {
			if !want.MatchString(out) {
				t.Errorf("line %d: %s: want %v in\n%s", s.line, s.command, want, out)
			}
		}
		said = append(said, mask(c, strings.ReplaceAll(out, dir, "WORK")))
	}
	return append(said, topics(t, c, events))
}

func typed(c *compat.Client, dir string, s step) (out string, failed bool) {
	cmd := c.Command("timeout", "60", "sh", "-c", s.command)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	return stdout.String() + stderr.String(), err != nil
}

// masks take out what differs each time, and the width of columns, which follows it.
var masks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC)?`), "TIME"},
	{regexp.MustCompile(`(Less than a second|About a minute|\d+ (seconds?|minutes?))( ago)?`), "AGE"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ns|µs|ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`\d+(\.\d+)? *([KMG]i?)?B/s`), "SPEED"},
	{regexp.MustCompile(`snapshots/\d+/`), "snapshots/N/"},
	{regexp.MustCompile(`(?m)^.*DEPRECATION: .*\n`), ""},                          // what containerd has to say of itself
	{regexp.MustCompile(`import-[-0-9]+@sha256:[0-9a-f]+`), "import-DATE@DIGEST"}, // of an index with the registry's name in it
	{regexp.MustCompile(`"value": "[^"]+"`), `"value": OPTIONS`},                  // with a path in it
	{regexp.MustCompile(`[ \t]+`), " "},
	{regexp.MustCompile(`(?m) $`), ""},
}

func mask(c *compat.Client, out string) string {
	out = strings.NewReplacer(c.Namespace, "NAMESPACE", c.Marker, "MARKER").Replace(out)
	for _, m := range masks {
		out = m.what.ReplaceAllString(out, m.with)
	}
	return list.ReplaceAllStringFunc(out, func(list string) string {
		parts := strings.Split(list, ",")
		slices.Sort(parts)
		return strings.Join(parts, ",")
	})
}

// list is what ctr prints of labels, in the order of a Go map.
var list = regexp.MustCompile(`[^\s,]+(,[^\s,]+)+`)

// checkpointed is an event that containerd has a topic for, and that only our manager publishes.
const checkpointed = "/tasks/checkpointed"

// topics lists what was told of the container walk-1 in its order, and how often what else was told: of content and
// snapshots only that it was, because the collector of garbage may be the first to see some.
func topics(t *testing.T, c *compat.Client, events *compat.Events) string {
	t.Helper()
	events.Wait(t, "walk-1", "/containers/delete", 1)
	counts := map[string]int{}
	harness.Until(2*time.Second, func() bool { // what is collected in the background is told late
		before := len(events.All())
		time.Sleep(harness.Slow(200 * time.Millisecond))
		return before == len(events.All())
	})
	for _, e := range events.All() {
		if e.Namespace == c.Namespace && e.Topic != checkpointed {
			counts[e.Topic]++
		}
		if strings.HasPrefix(e.Topic, "/snapshot/") || strings.HasPrefix(e.Topic, "/content/") {
			counts[e.Topic] = 1
		}
	}
	var b strings.Builder
	for _, topic := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintln(&b, topic, counts[topic])
	}
	of := slices.DeleteFunc(events.Topics("walk-1"), func(topic string) bool { return "/"+topic == checkpointed })
	fmt.Fprintln(&b, "walk-1:", of)
	return b.String()
}

// layered is an image of three layers: the second and third change and remove what is in those below.
func layered(t testing.TB) *layout {
	t.Helper()
	opaque := file("etc/deep/.wh..wh..opq", "")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	shell := file("bin/busybox", string(program))
	shell.Mode = 0o4755
	owned := file("etc/owned", "owned")
	owned.Uid, owned.Gid = 1000, 2000
	return newLayout(t, "docker.io/library/layered:1",
		tarOf(t, directory("bin"), shell, link('2', "bin/sh", "busybox"), link('2', "bin/cat", "busybox"), link('2', "bin/ls", "busybox"), link('2', "bin/sleep", "busybox"),
			directory("proc"), directory("sys"), directory("dev"), directory("etc"), file("etc/gone", "gone"), file("etc/changed", "one"), directory("etc/deep"), file("etc/deep/a", "a")),
		tarOf(t, directory("etc"), file("etc/.wh.gone", ""), file("etc/changed", "two"), owned, link('1', "etc/hard", "etc/owned")),
		tarOf(t, directory("etc"), directory("etc/deep"), opaque, file("etc/deep/b", "b"), link('2', "etc/soft", "/etc/changed")),
	)
}
