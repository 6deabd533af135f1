package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/gantry-containers/gantry/tests/harness"
)

// api sends requests of the newest version.
type api struct {
	t      *testing.T
	client *http.Client
}

// ask wants success, and every field of the answer to be one of the type's. Nil takes an answer of no type.
func (a *api) ask(method, path, body string, into any) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, "http://engine/v1.56"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := a.client.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= http.StatusMultipleChoices {
		a.t.Fatalf("%s %s: %s %v %s", method, path, answer.Status, err, raw)
	}
	if into == nil {
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	values := 0
	for ; ; values++ {
		if err := decoder.Decode(into); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			a.t.Errorf("%s %s: %v: %s", method, path, err, raw)
			return
		}
	}
	if values == 0 {
		a.t.Errorf("%s %s: an empty answer", method, path)
	}
}

// inspected has what moby adds for images of the classic builder.
type inspected struct {
	image.InspectResponse
	Parent string
}

// TestStrict decodes answers into the types of moby's client for Go, which has a field for all that they hold.
func TestStrict(t *testing.T) {
	t.Parallel()
	e := start(t)
	a := &api{t, &http.Client{Timeout: harness.Limit(time.Minute), Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", e.Socket())
		},
	}}}
	t.Cleanup(a.client.CloseIdleConnections)
	const health = `"Healthcheck":{"Test":["CMD","true"],"Interval":100000000}`
	var created container.CreateResponse
	a.ask("POST", "/containers/create?name=strict", `{"Image":"busybox:gantry","Cmd":["sleep","1000"],`+health+`,"Volumes":{"/v":{}},"HostConfig":{"NetworkMode":"none","Memory":67108864,"Binds":["strict:/w"]}}`, &created)
	a.ask("POST", "/containers/strict/start", "", nil)
	var exec container.ExecCreateResponse
	a.ask("POST", "/containers/strict/exec", `{"Cmd":["touch","/new"],"AttachStdout":true}`, &exec)
	a.ask("POST", "/exec/"+exec.ID+"/start", `{}`, nil)
	for _, c := range []struct {
		method, path, body string
		into               any
	}{
		{"GET", "/exec/" + exec.ID + "/json", "", new(container.ExecInspectResponse)},
		{"GET", "/info", "", new(system.Info)},
		{"GET", "/version", "", new(system.VersionResponse)},
		{"GET", "/system/df?verbose=1", "", new(system.DiskUsage)},
		{"GET", "/containers/json?all=1&size=1", "", new([]container.Summary)},
		{"GET", "/containers/strict/json?size=1", "", new(container.InspectResponse)},
		{"GET", "/containers/strict/top", "", new(container.TopResponse)},
		{"GET", "/containers/strict/changes", "", new([]container.FilesystemChange)},
		{"GET", "/containers/strict/stats?stream=false", "", new(container.StatsResponse)},
		{"POST", "/containers/strict/update", `{"Memory":33554432,"MemorySwap":-1}`, new(container.UpdateResponse)},
		{"POST", "/commit?container=strict&repo=strict", `{}`, new(container.CommitResponse)},
		{"GET", "/images/json?manifests=1&shared-size=1", "", new([]image.Summary)},
		{"GET", "/images/strict/json", "", new(inspected)},
		{"GET", "/images/strict/json?manifests=1", "", new(inspected)},
		{"GET", "/images/strict/history", "", new([]image.HistoryResponseItem)},
		{"DELETE", "/images/strict", "", new([]image.DeleteResponse)},
		{"GET", "/volumes", "", new(volume.ListResponse)},
		{"GET", "/volumes/strict", "", new(volume.Volume)},
		{"POST", "/containers/strict/kill", "", nil},
		{"POST", "/containers/strict/wait", "", new(container.WaitResponse)},
		{"POST", "/containers/prune", "", new(container.PruneReport)},
		{"POST", "/volumes/prune", "", new(volume.PruneReport)},
		{"POST", "/images/prune", "", new(image.PruneReport)},
		{"GET", "/events?since=0&until=1", "", nil},
	} {
		a.ask(c.method, c.path, c.body, c.into)
	}
	until := strconv.FormatInt(time.Now().Add(time.Second).Unix(), 10)
	a.ask("GET", "/events?since=1&until="+until, "", new(events.Message))
}
