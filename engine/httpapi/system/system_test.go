package system_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	eventsapi "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	api "github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/gantry-containers/gantry/engine/events"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/httpapi/system"
)

// service knows a little of everything.
type service struct{}

func (service) Info(context.Context) (*api.Info, error) {
	return &api.Info{
		ID:         "id",
		Runtimes:   map[string]api.RuntimeWithStatus{"runc": {Runtime: api.Runtime{Path: "runc"}, Status: map[string]string{"a": "b"}}},
		RuncCommit: api.Commit{ID: "abc"}, Containerd: &api.ContainerdInfo{Address: "/c"},
		FirewallBackend: &api.FirewallInfo{Driver: "iptables"}, DiscoveredDevices: []api.DeviceInfo{{ID: "d"}}, NRI: &api.NRIInfo{Info: [][2]string{{"a", "b"}}},
	}, nil
}

func (service) Version(context.Context) (*api.VersionResponse, error) {
	return &api.VersionResponse{Version: "v"}, nil
}

func (service) DiskUsage(_ context.Context, what map[api.DiskUsageObject]bool) (*api.DiskUsage, error) {
	u := &api.DiskUsage{}
	if what[api.ImageObject] {
		u.ImageUsage = &image.DiskUsage{TotalSize: 5, TotalCount: 1, Items: []image.Summary{{ID: "i", Size: 5}}}
	}
	if what[api.ContainerObject] {
		u.ContainerUsage = &container.DiskUsage{}
	}
	if what[api.VolumeObject] {
		u.VolumeUsage = &volume.DiskUsage{}
	}
	if what[api.BuildCacheObject] {
		u.BuildCacheUsage = &build.DiskUsage{}
	}
	return u, nil
}

func ask(t *testing.T, bus *events.Bus, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	h := httpapi.New(httpapi.Options{Server: "1"}, system.New(service{}, bus, func() string { return "1" }))
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	return rec
}

func object(t *testing.T, rec *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal(rec.Body.Bytes(), &m); err != nil {
		t.Fatalf("%s: %v", rec.Body, err)
	}
	return m
}

func TestPing(t *testing.T) {
	for method, answer := range map[string]string{http.MethodGet: "OK", http.MethodHead: ""} {
		rec := ask(t, events.NewBus(), method, "/_ping")
		if rec.Code != 200 || rec.Body.String() != answer {
			t.Errorf("%s: %d %q", method, rec.Code, rec.Body)
		}
		for key, want := range map[string]string{
			"Api-Version": "1.56", "Ostype": "linux", "Docker-Experimental": "false", "Builder-Version": "1", "Swarm": "inactive",
			"Server": "Docker/1 (linux)", "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Content-Type": "text/plain; charset=utf-8",
		} {
			if got := rec.Header().Get(key); got != want {
				t.Errorf("%s: %s is %q, want %q", method, key, got, want)
			}
		}
	}
}

// Each version has the fields that moby tells it.
func TestInfoByVersion(t *testing.T) {
	tests := map[string]struct{ has, hasNot []string }{
		"1.56": {[]string{"NRI", "DiscoveredDevices", "FirewallBackend", "Containerd"}, []string{"BridgeNfIptables", "Expected"}},
		"1.52": {[]string{"DiscoveredDevices", "FirewallBackend"}, []string{"NRI", "BridgeNfIptables"}},
		"1.49": {[]string{"FirewallBackend", "BridgeNfIptables"}, []string{"DiscoveredDevices", "Expected"}},
		"1.48": {[]string{"Containerd", `"Expected":"abc"`}, []string{"FirewallBackend", "AllowNondistributable"}},
		"1.46": {[]string{"Containerd", `"AllowNondistributableArtifactsCIDRs":null`}, []string{"FirewallBackend"}},
		"1.45": {[]string{`"status":{"a":"b"}`}, []string{`"Containerd":`}},
		"1.43": {[]string{`"path":"runc"`, "BridgeNfIp6tables"}, []string{`"status"`}},
		"1.24": {[]string{`"ID":"abc"`}, []string{"NRI"}},
	}
	for version, test := range tests {
		got := ask(t, events.NewBus(), http.MethodGet, "/v"+version+"/info").Body.String()
		for _, want := range test.has {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %s in %s", version, want, got)
			}
		}
		for _, unwanted := range test.hasNot {
			if strings.Contains(got, unwanted) {
				t.Errorf("%s: %s in %s", version, unwanted, got)
			}
		}
	}
}

func TestDiskUsage(t *testing.T) {
	tests := map[string][]string{
		"/v1.24/system/df":                            {"BuildCache", "Containers", "Images", "LayersSize", "Volumes"},
		"/v1.41/system/df?type=image":                 {"BuildCache", "Containers", "Images", "LayersSize", "Volumes"},
		"/v1.51/system/df?type=volume":                {"Volumes"},
		"/v1.56/system/df":                            {"BuildCache", "BuildCacheUsage", "ContainerUsage", "Containers", "ImageUsage", "Images", "LayersSize", "VolumeUsage", "Volumes"},
		"/v1.56/system/df?verbose=1":                  {"BuildCacheUsage", "ContainerUsage", "ImageUsage", "VolumeUsage"},
		"/v1.56/system/df?type=volume&type=container": {"ContainerUsage", "Containers", "VolumeUsage", "Volumes"},
	}
	for path, want := range tests {
		got := object(t, ask(t, events.NewBus(), http.MethodGet, path))
		keys := []string{}
		for k := range got {
			keys = append(keys, k)
		}
		if d := cmp.Diff(want, keys, cmp.Transformer("sort", sorted)); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
	for version, want := range map[string]bool{"1.43": true, "1.44": false} {
		got := ask(t, events.NewBus(), http.MethodGet, "/v"+version+"/system/df").Body.String()
		if strings.Contains(got, "VirtualSize") != want {
			t.Errorf("%s: %s", version, got)
		}
	}
	if rec := ask(t, events.NewBus(), http.MethodGet, "/system/df?type=x"); rec.Code != 400 || !strings.Contains(rec.Body.String(), "unknown object type: x") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func sorted(in []string) map[string]bool {
	m := map[string]bool{}
	for _, s := range in {
		m[s] = true
	}
	return m
}

func TestEventsRefused(t *testing.T) {
	tests := map[string]string{
		"/events?since=x":                       `{"message":"invalid value for 'since': invalid timestamp \"x\": invalid seconds \"x\": invalid syntax"}`,
		"/events?until=1.x":                     `{"message":"invalid value for 'until': invalid timestamp \"1.x\": invalid nanoseconds: \"x\""}`,
		"/events?since=5&until=3":               "{\"message\":\"`since` time (5) cannot be after `until` time (3)\"}",
		"/events?filters=x&until=3":             `{"message":"invalid filter"}`,
		"/events?since=99999999999999999999":    `value out of range`,
		"/events?until=1.123456789012345678901": "invalid nanoseconds",
	}
	for path, want := range tests {
		if rec := ask(t, events.NewBus(), http.MethodGet, path); rec.Code != 400 || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: %d %s, want %s", path, rec.Code, rec.Body, want)
		}
	}
}

func TestPastEvents(t *testing.T) {
	bus := events.NewBus()
	bus.Publish(eventsapi.ImageEventType, eventsapi.ActionCreate, "i", nil)
	bus.Publish(eventsapi.ContainerEventType, eventsapi.ActionStart, "c", map[string]string{"image": "busybox"})
	tests := map[string]struct {
		path, accept, kind string
		lines              int
		status             any
	}{
		"new":      {"/events?since=1&until=", "", "application/jsonl", 2, nil},
		"1.51":     {"/v1.51/events?since=1&until=", "", "application/json", 2, "start"},
		"1.45":     {"/v1.45/events?since=1&until=", "", "application/json", 1, "start"},
		"sequence": {"/events?since=1&until=", "application/json-seq", "application/json-seq", 2, nil},
		"filtered": {`/events?filters=%7B%22type%22:%5B%22image%22%5D%7D&since=1&until=`, "", "application/jsonl", 1, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, test.path+seconds(time.Now()), http.NoBody)
			r.Header.Set("Accept", test.accept)
			httpapi.New(httpapi.Options{}, system.New(service{}, bus, func() string { return "1" })).ServeHTTP(rec, r)
			if kind := rec.Header().Get("Content-Type"); kind != test.kind {
				t.Errorf("content type %s, want %s", kind, test.kind)
			}
			lines := strings.Split(strings.TrimSuffix(rec.Body.String(), "\n"), "\n")
			if len(lines) != test.lines {
				t.Fatalf("%d lines, want %d: %s", len(lines), test.lines, rec.Body)
			}
			last, found := strings.CutPrefix(lines[len(lines)-1], "\x1e")
			if found != (test.accept != "") {
				t.Errorf("record separator: %v", found)
			}
			var m map[string]any
			if err := json.Unmarshal([]byte(last), &m); err != nil {
				t.Fatal(err)
			}
			if m["status"] != test.status {
				t.Errorf("status %v, want %v", m["status"], test.status)
			}
		})
	}
}

// seconds is a time as since and until have it.
func seconds(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

// The header comes before the first event, and each event when it happens.
func TestLiveEvents(t *testing.T) {
	bus := events.NewBus()
	s := httptest.NewServer(httpapi.New(httpapi.Options{}, system.New(service{}, bus, func() string { return "1" })))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	in := bufio.NewReader(r.Body)
	for _, id := range []string{"a", "b"} {
		bus.Publish(eventsapi.VolumeEventType, eventsapi.ActionCreate, id, nil)
		line, err := in.ReadString('\n')
		if err != nil || !strings.Contains(line, `"ID":"`+id+`"`) {
			t.Fatalf("%q, %v", line, err)
		}
	}
	cancel()
	if _, err := io.Copy(io.Discard, in); err == nil {
		t.Error("the stream ended in order")
	}
	for bus.Listeners() > 0 {
		time.Sleep(time.Millisecond)
	}
}
