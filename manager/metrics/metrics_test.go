package metrics

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

func text(t *testing.T, families ...Family) string {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, families...); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWrite(t *testing.T) {
	got := text(
		t,
		Family{Name: "none", Type: Gauge},
		Family{Name: "plain", Help: "Two\nlines.", Type: Gauge, Samples: []Sample{{Value: 1.5}}},
		Family{Name: "labelled", Help: `a\b`, Type: Counter, Samples: []Sample{
			{Labels: []Label{{"a", `q"\`}, {"b", "n\nl"}}, Value: 1e21},
		}},
	)
	want := `# HELP plain Two\nlines.
# TYPE plain gauge
plain 1.5
# HELP labelled a\\b
# TYPE labelled counter
labelled{a="q\"\\",b="n\nl"} 1e+21
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := Write(full{}, Family{Name: "x", Samples: []Sample{{}}}); err == nil {
		t.Error("what cannot be written was")
	}
}

// full is a writer without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestCalls(t *testing.T) {
	var c Calls
	if got := text(t, c.Families()...); got != "" {
		t.Errorf("before any call: %s", got)
	}
	const get = "/containerd.services.tasks.v1.Tasks/Get"
	c.Started(get, Unary)
	c.Started(get, Unary)
	c.Handled(get, Unary, codes.OK)
	c.Handled(get, Unary, codes.NotFound)
	c.Started("/S/M", Kind(true, true))
	got := text(t, c.Families()...)
	for _, want := range []string{
		`grpc_server_started_total{grpc_method="Get",grpc_service="containerd.services.tasks.v1.Tasks",grpc_type="unary"} 2`,
		`grpc_server_started_total{grpc_method="M",grpc_service="S",grpc_type="bidi_stream"} 1`,
		`grpc_server_handled_total{grpc_code="NotFound",grpc_method="Get",grpc_service="containerd.services.tasks.v1.Tasks",grpc_type="unary"} 1`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Get",grpc_service="containerd.services.tasks.v1.Tasks",grpc_type="unary"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if Kind(true, false) != ClientStream || Kind(false, true) != ServerStream {
		t.Error("kinds of streams are mixed up")
	}
}

func TestProcess(t *testing.T) {
	got := text(t, Process()...)
	for _, want := range []string{
		"go_goroutines", "go_memstats_heap_alloc_bytes", "process_start_time_seconds", "process_cpu_seconds_total", "process_max_fds",
		"process_open_fds", "process_virtual_memory_bytes", "process_resident_memory_bytes",
	} {
		if !strings.Contains(got, "\n"+want+" ") || strings.Contains(got, "\n"+want+" 0\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestContainers(t *testing.T) {
	marshal := func(m proto.Message) typeurl.Any {
		t.Helper()
		a, err := typeurl.MarshalAnyToProto(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	one := marshal(&cgroup1.Metrics{Pids: &cgroup1.PidsStat{Current: 3}, Memory: &cgroup1.MemoryStat{Usage: &cgroup1.MemoryEntry{Usage: 4096}}})
	two := marshal(&cgroup2.Metrics{CPU: &cgroup2.CPUStat{UsageUsec: 7}})
	list := []Container{
		{"n", "a", one},
		{"n", "odd", marshal(&emptypb.Empty{})},
		{"n", "garbage", &anypb.Any{TypeUrl: one.GetTypeUrl(), Value: []byte{1}}},
		{"m", "b", two},
	}
	families, err := Containers(list)
	if err == nil {
		t.Error("no error for what is no metrics")
	}
	got := text(t, families...)
	for _, want := range []string{
		`container_pids_current{container_id="a",namespace="n"} 3`,
		`container_memory_usage_usage_bytes{container_id="a",namespace="n"} 4096`,
		`container_cpu_usage_usec_microseconds{container_id="b",namespace="m"} 7`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "# TYPE") && strings.Count(got, line) != 1 {
			t.Errorf("more than once: %s", line)
		}
	}
	if families, err := Containers(nil); err != nil || text(t, families...) != "" {
		t.Errorf("without containers: %v, %v", families, err)
	}
	if _, err := Containers(list[:1]); err != nil {
		t.Error(err)
	}
}
