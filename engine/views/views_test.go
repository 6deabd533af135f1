package views

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	apievents "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/images"
)

// world is all that views look at.
type world struct {
	list   []*container.Container
	images map[string]digest.Digest
	events []string
}

func (w *world) Get(ref string) (*container.Container, error) {
	for _, c := range w.list {
		if c.Name == ref || strings.HasPrefix(c.ID, ref) {
			return c, nil
		}
	}
	return nil, fault.Errorf(errdefs.ErrNotFound, "No such container: %s", ref)
}
func (w *world) List() []*container.Container { return w.list }
func (w *world) Dir(id string) string         { return "/root/" + id }
func (w *world) Settings(c *container.Container) *api.NetworkSettings {
	return &api.NetworkSettings{Networks: c.Endpoints, Ports: network.PortMap{
		network.MustParsePort("80/tcp"): {{HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: "8080"}},
		network.MustParsePort("90/udp"): nil,
	}}
}

func (w *world) Resolve(_ context.Context, ref string, _ *ocispec.Platform) (*images.Image, error) {
	if d, ok := w.images[ref]; ok {
		return &images.Image{Target: ocispec.Descriptor{Digest: d}}, nil
	}
	return nil, errdefs.ErrNotFound
}

func (w *world) Children(_ context.Context, d digest.Digest) ([]digest.Digest, error) {
	if d == sha("a") {
		return []digest.Digest{sha("d")}, nil
	}
	return nil, nil
}
func (w *world) Usage(context.Context, string) (int64, error) { return 7, nil }
func (w *world) Total(context.Context, string) (int64, error) { return 70, nil }
func (w *world) Of(c *container.Container) *api.Health        { return c.State.Health }
func (w *world) IDs(string) []string                          { return nil }
func (w *world) Pids(context.Context, string) ([]int, error)  { return []int{1}, nil }
func (w *world) Publish(_ apievents.Type, a apievents.Action, _ string, _ map[string]string) {
	w.events = append(w.events, string(a))
}

func (w *world) service() *Service {
	return New(Sources{Records: w, Networks: w, Images: w, Sizes: w, Health: w, Execs: w, Pids: w, Events: w})
}

func sha(c string) digest.Digest { return digest.Digest("sha256:" + strings.Repeat(c, 64)) }

func record(name string, change func(*container.Container)) *container.Container {
	c := &container.Container{
		ID: strings.Repeat(name[:1], 64), Name: name, Created: time.Unix(1700000000, 5), Path: "sh", Args: []string{"-c", "a & b"},
		Config: &api.Config{Image: "busybox", Hostname: "host", Labels: map[string]string{"a": "<b>"}},
		HostConfig: &api.HostConfig{
			NetworkMode: "net", Annotations: map[string]string{"note": "x"}, LogConfig: api.LogConfig{Type: "json-file"},
		},
		Image:     container.Image{Target: ocispec.Descriptor{Digest: sha("a")}, Manifest: ocispec.Descriptor{Digest: sha("b")}},
		Platform:  ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Endpoints: map[string]*network.EndpointSettings{"net": {NetworkID: "abcdef", Aliases: []string{"www"}, DNSNames: []string{"www"}}},
		Mounts: []container.Mount{
			{Type: mount.TypeVolume, Name: "v", Source: "/s", Destination: "/data/in", RW: true}, {Type: mount.TypeBind, Source: "/b", Destination: "/z"},
		},
		Snapshotter: "overlayfs",
		State:       container.State{Status: container.Running, Pid: 10, StartedAt: time.Now().Add(-3 * time.Second)},
	}
	if change != nil {
		change(c)
	}
	return c
}

func since(d time.Duration) time.Time { return time.Now().Add(-d) }

func TestStatus(t *testing.T) {
	for _, tc := range []struct {
		state          container.State
		status, state2 string
	}{
		{container.State{Status: container.Created}, "Created", "created"},
		{container.State{}, "Created", "created"},
		{container.State{Status: container.Running, StartedAt: since(3 * time.Second)}, "Up 3 seconds", "running"},
		{container.State{Status: container.Running, StartedAt: since(time.Hour), RemovalInProgress: true}, "Up About an hour", "running"},
		{container.State{Status: container.Running, StartedAt: since(0), Health: &api.Health{Status: api.Starting}}, "Up Less than a second (health: starting)", "running"},
		{container.State{Status: container.Running, StartedAt: since(2 * time.Minute), Health: &api.Health{Status: api.Healthy}}, "Up 2 minutes (healthy)", "running"},
		{container.State{Status: container.Running, StartedAt: since(2 * time.Minute), Health: &api.Health{}}, "Up 2 minutes (unhealthy)", "running"},
		{container.State{Status: container.Paused, StartedAt: since(2 * time.Second), Health: &api.Health{}}, "Up 2 seconds (Paused)", "paused"},
		{container.State{Status: container.Restarting, ExitCode: 1, FinishedAt: since(5 * time.Second)}, "Restarting (1) 5 seconds ago", "restarting"},
		{container.State{Status: container.Exited, ExitCode: 137, StartedAt: since(time.Hour), FinishedAt: since(2 * time.Minute)}, "Exited (137) 2 minutes ago", "exited"},
		{container.State{Status: container.Exited, RemovalInProgress: true}, "Removal In Progress", "removing"},
		{container.State{Status: container.Dead}, "Dead", "dead"},
	} {
		if got := statusOf(tc.state, time.Now()); got != tc.status {
			t.Errorf("%+v: status %q, want %q", tc.state, got, tc.status)
		}
		if got := string(stateOf(tc.state)); got != tc.state2 {
			t.Errorf("%+v: state %q, want %q", tc.state, got, tc.state2)
		}
	}
}

// before is a client of a version.
func before(version string) func(string) bool {
	return func(v string) bool { return version < v } // all of the test have the same length
}

// The encoded list must be what encoding/json makes of the list, for each shape.
func TestListJSON(t *testing.T) {
	w := &world{images: map[string]digest.Digest{"busybox": sha("a")}}
	w.list = []*container.Container{
		record("one", nil),
		record("two", func(c *container.Container) { c.Config.Image = `gone "é"`; c.Config.Labels = nil }),
		record("healthy", func(c *container.Container) { c.State.Health = &api.Health{Status: api.Healthy, FailingStreak: 2} }),
		record("xnothing", func(c *container.Container) {
			c.Config, c.HostConfig, c.Mounts, c.Args, c.Image = nil, nil, nil, nil, container.Image{}
		}),
	}
	s := w.service()
	for _, size := range []bool{false, true} {
		for version, sh := range map[string]shape{"1.24": oldest, "1.46": withAnnotations, "1.48": withManifest, "1.56": withHealth} {
			o := ListOptions{All: true, Size: size}
			list, err := s.List(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			for i := range list {
				list[i] = trim(list[i], sh)
			}
			want, err := plain(list)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.ListJSON(context.Background(), o, before(version))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want)+"\n", string(got)); d != "" {
				t.Errorf("%s, size %v: %s", version, size, d)
			}
		}
	}
	if got := s.entries[w.list[1].ID].summary; got.Image != `gone "é"` {
		t.Errorf("the image's id was kept: %q", got.Image)
	}
}

// TestListTellsLinks: a container is also called what those call it that are linked to it, as long as they do.
func TestListTellsLinks(t *testing.T) {
	linked := func(c *container.Container) {
		c.HostConfig.NetworkMode, c.HostConfig.Links = "bridge", []string{"one:first", "nobody:x"}
	}
	w := &world{list: []*container.Container{record("one", nil), record("two", linked)}}
	s := w.service()
	for _, want := range [][]string{{"/one", "/two/first"}, {"/one"}} {
		list, err := s.List(context.Background(), ListOptions{All: true})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, list[0].Names); d != "" {
			t.Error(d)
		}
		w.list = w.list[:1]
	}
}

func TestListIsSwept(t *testing.T) {
	w := &world{list: []*container.Container{record("one", nil), record("two", nil)}}
	s := w.service()
	for _, n := range []int{2, 1, 0} {
		w.list = w.list[:n]
		for range 2 { // The second time nothing is new.
			if _, err := s.List(context.Background(), ListOptions{All: true}); err != nil {
				t.Fatal(err)
			}
		}
		if len(s.entries) != n {
			t.Errorf("%d containers, %d entries", n, len(s.entries))
		}
	}
}

func TestFilters(t *testing.T) {
	w := &world{images: map[string]digest.Digest{"busybox": sha("a"), "other": sha("c")}}
	w.list = []*container.Container{
		record("web1", nil),
		record("db", func(c *container.Container) {
			c.State = container.State{Status: container.Exited, ExitCode: 3, StartedAt: since(time.Hour), FinishedAt: since(time.Minute)}
			c.Endpoints, c.Mounts, c.Config.Labels = nil, nil, map[string]string{"a": "b", "c": "d"}
			c.Image.Target.Digest = sha("c")
		}),
		record("aweb2", func(c *container.Container) { c.State.Health = &api.Health{Status: api.Healthy} }),
		record("new", func(c *container.Container) {
			c.State = container.State{Status: container.Created}
			c.Image.Target.Digest = sha("d")
		}),
	}
	for _, tc := range []struct {
		filter string
		o      ListOptions
		want   string // names, or an error
	}{
		{want: "web1 aweb2"},
		{o: ListOptions{All: true}, want: "web1 db aweb2 new"},
		{o: ListOptions{Limit: 3}, want: "web1 db aweb2"},
		{filter: `{"name":["web"]}`, want: "web1 aweb2"},
		{filter: `{"name":["^/web"]}`, want: "web1"},
		{filter: `{"name":{"^web":true}}`, want: "web1"},
		{filter: `{"id":["ww"]}`, want: "web1"},
		{filter: `{"id":["zz"]}`, want: ""},
		{filter: `{"label":["a"]}`, o: ListOptions{All: true}, want: "web1 db aweb2 new"},
		{filter: `{"label":["a=b","c"]}`, o: ListOptions{All: true}, want: "db"},
		{filter: `{"status":["exited"]}`, want: "db"},
		{filter: `{"status":["created","running"]}`, want: "web1 aweb2 new"},
		{filter: `{"exited":["3"]}`, o: ListOptions{All: true}, want: "db"},
		{filter: `{"exited":["0"]}`, o: ListOptions{All: true}, want: ""},
		{filter: `{"health":["none"]}`, want: "web1"},
		{filter: `{"health":["healthy"]}`, want: "aweb2"},
		{filter: `{"before":["db"]}`, want: "aweb2"},
		{filter: `{"since":["aweb2"]}`, o: ListOptions{All: true}, want: "web1 db"},
		{filter: `{"since":["new"],"before":["web1"]}`, o: ListOptions{All: true}, want: "db aweb2"},
		{filter: `{"since":["web1"],"before":["new"]}`, o: ListOptions{All: true}, want: ""},
		{filter: `{"ancestor":["busybox"]}`, want: "web1 aweb2"},
		{filter: `{"ancestor":["busybox"]}`, o: ListOptions{All: true}, want: "web1 aweb2 new"},
		{filter: `{"ancestor":["other"]}`, o: ListOptions{All: true}, want: "db"},
		{filter: `{"ancestor":["nothing"]}`, want: ""},
		{filter: `{"volume":["v"]}`, want: "web1 aweb2"},
		{filter: `{"volume":["/z"]}`, want: "web1 aweb2"},
		{filter: `{"volume":["w"]}`, want: ""},
		{filter: `{"network":["net"]}`, o: ListOptions{All: true}, want: "web1 aweb2 new"},
		{filter: `{"network":["abc"]}`, want: "web1 aweb2"},
		{filter: `{"network":["nix"]}`, want: ""},
		{filter: `{"publish":["8080"]}`, want: "web1 aweb2"},
		{filter: `{"publish":["8000-9000/tcp"]}`, want: "web1 aweb2"},
		{filter: `{"publish":["90/udp"]}`, want: ""},
		{filter: `{"expose":["90/udp"]}`, want: "web1 aweb2"},
		{filter: `{"is-task":["true"]}`, want: ""},
		{filter: `{"is-task":["false"]}`, want: "web1 aweb2"},
		{filter: `{"isolation":["hyperv"]}`, want: "web1 aweb2"},
		{filter: `{"annotation":["note=x"]}`, want: "web1 aweb2"},
		{filter: `{"colour":["x"]}`, want: "invalid filter 'colour'"},
		{filter: `{"exited":["x"]}`, want: `invalid filter 'exited=x': strconv.Atoi: parsing "x": invalid syntax`},
		{filter: `{"status":["x"]}`, want: "invalid filter 'status=x': invalid value for state (x): must be one of created, running, paused, restarting, removing, exited, dead"},
		{filter: `{"health":["x"]}`, want: "invalid filter 'health=x': invalid value for health (x): must be one of none, starting, healthy, unhealthy"},
		{filter: `{"before":["x"]}`, want: "No such container: x"},
		{filter: `{"publish":["80:80"]}`, want: "filter for 'publish' should not contain ':': 80:80"},
	} {
		f, err := filters.Parse(tc.filter)
		if err != nil {
			t.Fatal(err)
		}
		tc.o.Filters = f
		if got := w.names(tc.o); got != tc.want {
			t.Errorf("%s %+v: got %q, want %q", tc.filter, tc.o, got, tc.want)
		}
	}
}

// names are those of a list, or its error.
func (w *world) names(o ListOptions) string {
	list, err := w.service().List(context.Background(), o)
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, e := range list {
		names = append(names, strings.TrimPrefix(e.Names[0], "/"))
	}
	return strings.Join(names, " ")
}

func TestInspectByVersion(t *testing.T) {
	w := &world{list: []*container.Container{record("one", func(c *container.Container) {
		c.Started = true
		c.Endpoints["bridge"] = &network.EndpointSettings{EndpointID: "e1", IPPrefixLen: 16}
		mask := uint32(7)
		c.HostConfig.Umask = &mask
	})}}
	s := w.service()
	s.DesiredMAC = func(*container.Container) network.HardwareAddr { return network.HardwareAddr{2, 0, 0, 0, 0, 1} }
	for _, tc := range []struct{ version, path, want string }{
		{"1.24", "NetworkSettings.EndpointID", `"e1"`},
		{"1.24", "NetworkSettings.IPPrefixLen", `16`},
		{"1.51", "NetworkSettings.EndpointID", `"e1"`},
		{"1.52", "NetworkSettings.EndpointID", ""},
		{"1.51", "NetworkSettings.Networks.net.NetworkID", `"abcdef"`},
		{"1.51", "Config.MacAddress", `"02:00:00:00:00:01"`},
		{"1.51", "Config.Image", `"busybox"`},
		{"1.52", "Config.MacAddress", ""},
		{"1.51", "GraphDriver", `{"Data":null,"Name":"overlayfs"}`},
		{"1.51", "Storage", ""},
		{"1.52", "GraphDriver", ""},
		{"1.52", "Storage", `{"RootFS":{"Snapshot":{"Name":"overlayfs"}}}`},
		{"1.44", "NetworkSettings.Networks.net.Aliases", `["www","` + strings.Repeat("o", 12) + `","host"]`},
		{"1.45", "NetworkSettings.Networks.net.Aliases", `["www"]`},
		{"1.47", "ImageManifestDescriptor", ""},
		{"1.48", "ImageManifestDescriptor.platform.os", `"linux"`},
		{"1.55", "HostConfig.Umask", ""},
		{"1.56", "HostConfig.Umask", "7"},
		{"1.56", "LogPath", `"/root/` + strings.Repeat("o", 64) + "/" + strings.Repeat("o", 64) + `-json.log"`},
		{"1.56", "ExecIDs", "null"},
		{"1.56", "State.Running", "true"},
		{"1.56", "State.FinishedAt", `"0001-01-01T00:00:00Z"`},
		{"1.56", "Name", `"/one"`},
		{"1.56", "SizeRw", "7"},
	} {
		in, err := s.Inspect(context.Background(), "one", true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(s.ForVersion(in, before(tc.version)))
		if err != nil {
			t.Fatal(err)
		}
		if got := at(t, b, tc.path); got != tc.want {
			t.Errorf("%s %s: got %s, want %q", tc.version, tc.path, got, tc.want)
		}
	}
	if a := w.list[0].Endpoints["net"].Aliases; len(a) != 1 {
		t.Errorf("the record changed: %v", a)
	}
}

// at is the JSON at a path, empty when there is none.
func at(t *testing.T, b []byte, path string) string {
	t.Helper()
	for key := range strings.SplitSeq(path, ".") {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatalf("%s: %v in %s", path, err, b)
		}
		b = m[key]
	}
	return string(b)
}

func TestParsePS(t *testing.T) {
	for name, tc := range map[string]struct {
		out  string
		want *api.TopResponse
		err  string
	}{
		"ours alone": {
			out:  "UID PID CMD\nroot 1 sh -c x\nroot 2 other\nroot 3 a\tb\n",
			want: &api.TopResponse{Titles: []string{"UID", "PID", "CMD"}, Processes: [][]string{{"root", "1", "sh -c x"}, {"root", "3", "a b"}}},
		},
		"threads": {
			out:  "PID TTY\n1 ?\n- ?\n2 ?\n- ?\n",
			want: &api.TopResponse{Titles: []string{"PID", "TTY"}, Processes: [][]string{{"1", "?"}, {"-", "?"}}},
		},
		"no pid":  {out: "UID CMD\n1 2\n", err: "Couldn't find PID field in ps output"},
		"bad pid": {out: "PID\nx\n", err: "Unexpected pid 'x': strconv.Atoi: parsing \"x\": invalid syntax"},
	} {
		got, err := parsePS(tc.out, []int{1, 3})
		if tc.err != "" {
			if err == nil || err.Error() != tc.err {
				t.Errorf("%s: got error %v", name, err)
			}
			continue
		}
		if d := cmp.Diff(tc.want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
}

func TestTop(t *testing.T) {
	w := &world{list: []*container.Container{
		record("one", nil),
		record("two", func(c *container.Container) { c.State.Status = container.Exited }),
		record("three", func(c *container.Container) { c.State.Status = container.Restarting }),
	}}
	for _, tc := range []struct{ ref, args, err string }{
		{"one", "-eo pid,comm", ""},
		{"one", "-eo user,cmd=PID", `specifying "cmd=PID" is not allowed`},
		{"one", "--nonsense", "ps: "},
		{"two", "", "container " + strings.Repeat("t", 64) + " is not running"},
		{"four", "", "No such container: four"},
	} {
		if tc.args == "-eo user,cmd=PID" {
			tc.args = "-eo user, cmd=PID"
		}
		top, err := w.service().Top(context.Background(), tc.ref, tc.args)
		if tc.err == "" {
			if err != nil || len(top.Processes) != 1 || top.Processes[0][0] != "1" {
				t.Errorf("%s %s: %+v %v", tc.ref, tc.args, top, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), tc.err) {
			t.Errorf("%s %s: error %v, want %q", tc.ref, tc.args, err, tc.err)
		}
	}
	if d := cmp.Diff([]string{"top"}, w.events); d != "" {
		t.Error(d)
	}
}

func TestSystem(t *testing.T) {
	w := &world{list: []*container.Container{
		record("run", nil),
		record("pause", func(c *container.Container) { c.State.Status = container.Paused }),
		record("again", func(c *container.Container) { c.State.Status = container.Restarting }),
		record("exit", func(c *container.Container) { c.State.Status = container.Exited }),
	}}
	if r, p, s := w.service().Counts(); r != 2 || p != 1 || s != 1 {
		t.Errorf("%d run, %d are paused, %d neither", r, p, s)
	}
	du, err := w.service().DiskUsage(context.Background())
	if err != nil || du.TotalCount != 4 || du.ActiveCount != 3 || du.TotalSize != 28 || du.Reclaimable != 7 || len(du.Items) != 4 {
		t.Errorf("%+v, %v", du, err)
	}
}

func BenchmarkListJSON500(b *testing.B) {
	w := &world{images: map[string]digest.Digest{"busybox": sha("a")}}
	for i := range 500 {
		w.list = append(w.list, record("one", func(c *container.Container) { c.ID = digest.FromString(string(rune(i))).Encoded() }))
	}
	s := w.service()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.ListJSON(context.Background(), ListOptions{All: true}, before("1.56")); err != nil {
			b.Fatal(err)
		}
	}
}
