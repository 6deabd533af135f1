package apidiff

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestMain gives the tests a /run of their own, where shims and network namespaces have their places.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := os.Setenv("DOCKER_MIN_API_VERSION", versions[0]); err != nil { // moby's own lowest is higher
		panic(err)
	}
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// versions are tried with every request; in a quick run those that change something with the first and the last only.
var versions = []string{"1.24", "1.41", "1.44", "1.51", "1.56"}

// groups are the resources of this engine so far.
var groups = []string{"Container", "Image", "System", "Exec", "Volume", "Distribution"}

// left are operations that come with BuildKit.
var left = regexp.MustCompile(`^POST /session$`)

// lanes is how many requests are under way at a time.
const lanes = 4

// TestDiff compares our engine with moby 29. GANTRY_ENGINE=moby compares moby with itself, which shows what is masked
// too little. GANTRY_APIDIFF is a pattern of operations; with "all" everything is tried in every version.
func TestDiff(t *testing.T) {
	harness.NeedRoot(t)
	operations, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	d := start(t)
	only := regexp.MustCompile(strings.TrimPrefix(os.Getenv("GANTRY_APIDIFF"), "all"))
	operations = slices.DeleteFunc(operations, func(o *Operation) bool {
		return !slices.Contains(groups, o.Tags[0]) || left.MatchString(o.String()) || !only.MatchString(o.String())
	})
	for _, p := range []phase{reads, changes, ends} {
		d.run(t, p, operations)
	}
	for _, o := range operations {
		t.Run(o.String(), func(t *testing.T) { d.report.Tell(t, o.String()) })
	}
	for name, test := range map[string]func(*testing.T, *differ){"wire": wire, "typed": typed} {
		if only.MatchString(name) {
			t.Run(name, func(t *testing.T) { test(t, d) })
		}
	}
	t.Logf("%d requests; moby's answers by status: %v", d.report.requests, d.report.statuses)
}

// differ is two engines.
type differ struct {
	lanes  []*pair
	report *Report
}

// pair is a lane at each engine.
type pair struct{ want, got *Lane }

func start(t *testing.T) *differ {
	t.Helper()
	release := &docker.Releases[1]
	args := []string{"--experimental"}
	theirs := docker.Start(t, release, docker.Setup{Args: args})
	ours := docker.Start(t, release, docker.Setup{Engine: os.Getenv("GANTRY_ENGINE") != "moby", Args: args})
	d := &differ{report: NewReport(t)}
	for i := range lanes {
		d.lanes = append(d.lanes, &pair{NewLane(t, theirs.Socket(), i), NewLane(t, ours.Socket(), i)})
	}
	if err := d.lanes[0].both(func(l *Lane) error { return l.must("POST", "/images/"+image+"/tag?repo=kept&tag=1", "") }); err != nil {
		t.Fatal(err)
	}
	return d
}

// both does something at both engines at the same time.
func (p *pair) both(do func(l *Lane) error) error {
	var wantErr, gotErr error
	var wait sync.WaitGroup
	wait.Go(func() { wantErr = do(p.want) })
	gotErr = do(p.got)
	wait.Wait()
	if wantErr != nil || gotErr != nil {
		return fmt.Errorf("moby: %w; gantry: %w", wantErr, gotErr)
	}
	return nil
}

// try sends a request to both and compares the answers.
func (p *pair) try(report *Report, r *Request, version string) error {
	var want, got *Answer
	err := p.both(func(l *Lane) error {
		a, err := l.Send(r, version)
		if l == p.want {
			want = a
		} else {
			got = a
		}
		return err
	})
	if err != nil {
		report.add(r.Operation.String(), r.String(), version, []string{err.Error()})
		return p.both((*Lane).Furnish)
	}
	report.Compare(r.Operation.String(), r.String(), version, want, got)
	// What changed something has changed it at both, or is to blame.
	if r.changes() && (want.Status < 300 || got.Status < 300) {
		return p.both((*Lane).Furnish)
	}
	return nil
}
