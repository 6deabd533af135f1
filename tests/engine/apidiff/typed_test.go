package apidiff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	images "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	volumes "github.com/moby/moby/api/types/volume"
)

// strictly reads an answer, which may be a stream, into values of a type that has to have all fields.
func strictly[T any](body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	for n := 0; ; n++ {
		var v T
		err := dec.Decode(&v)
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case err != nil:
			return fmt.Errorf("value %d: %w", n, err)
		}
	}
}

// typed reads answers of the newest version into the types that clients have. Moby itself has to pass.
func typed(t *testing.T, d *differ) {
	t.Helper()
	if err := d.lanes[0].both((*Lane).Furnish); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		read func([]byte) error
	}{
		{"/containers/RUNNING/json?size=1", strictly[container.InspectResponse]},
		{"/containers/STOPPED/json", strictly[container.InspectResponse]},
		{"/containers/json?all=1&size=1", strictly[[]container.Summary]},
		{"/containers/RUNNING/stats?stream=0&one-shot=1", strictly[container.StatsResponse]},
		{"/containers/STOPPED/changes", strictly[[]container.FilesystemChange]},
		{"/containers/RUNNING/top", strictly[container.TopResponse]},
		{"/images/json?manifests=1&identity=1&shared-size=1", strictly[[]images.Summary]},
		{"/images/kept:1/json?manifests=1", strictly[images.InspectResponse]},
		{"/images/kept:1/history", strictly[[]images.HistoryResponseItem]},
		{"/info", strictly[system.Info]},
		{"/version", strictly[system.VersionResponse]},
		{"/system/df?verbose=1", strictly[diskUsage]},
		{"/system/df", strictly[diskUsage]},
		{"/events?since=1&until=2", nothing},
		{"/volumes", strictly[volumes.ListResponse]},
		{"/volumes/VOLUME", strictly[volumes.Volume]},
		{"/networks", strictly[[]network.Summary]},
		{"/networks/none", strictly[network.Inspect]},
		{"/events?since=1&until=" + now(), strictly[events.Message]},
	} {
		for _, l := range []*Lane{d.lanes[0].want, d.lanes[0].got} {
			code, body, err := l.do("GET", "/v1.56"+l.named(test.path), "")
			if err != nil || code != http.StatusOK {
				t.Errorf("%s: %d %v %s", test.path, code, err, body)
				continue
			}
			if err := test.read(body); err != nil {
				t.Errorf("%s of moby=%v: %v\n%.500s", test.path, l == d.lanes[0].want, err, body)
			}
		}
	}
}

// diskUsage has what older versions told as well.
type diskUsage struct {
	system.DiskUsage
	LayersSize, BuilderSize                 int64
	Images, Containers, Volumes, BuildCache []json.RawMessage
}

func nothing(body []byte) error {
	if len(body) > 0 {
		return fmt.Errorf("not empty: %.100s", body)
	}
	return nil
}

func now() string { return strconv.FormatInt(time.Now().Unix(), 10) }
