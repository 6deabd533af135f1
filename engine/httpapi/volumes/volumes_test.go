package volumes

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/volumes"
)

type quiet struct{}

func (quiet) Publish(events.Type, events.Action, string, map[string]string) {}

func TestVolumes(t *testing.T) {
	s, err := volumes.Open(t.TempDir(), quiet{})
	if err != nil {
		t.Fatal(err)
	}
	h := httpapi.New(httpapi.Options{}, New(s))
	for _, test := range []struct {
		request, body string
		code          int
		want          string // begins the answer
	}{
		{"GET /volumes", "", 200, `{"Volumes":[],"Warnings":null}`},
		{"POST /volumes/create", `{"Name":"vol","Labels":{"a":"b"}}`, 201, `{"CreatedAt":"`},
		{"POST /volumes/create", `{"Name":"x"}`, 400, `{"message":"create x: volume name is too short`},
		{"POST /volumes/create", `{`, 400, `{"message":"invalid JSON`},
		{"POST /volumes/create", `{"Name":"vv","Driver":"none"}`, 404, `{"message":"create vv: error looking up volume plugin none: plugin \"none\" not found"}`},
		{"POST /volumes/create", `{"Name":"vv","ClusterVolumeSpec":{}}`, 503, `{"message":"This node is not a swarm manager. Use \"docker swarm init\"`},
		{"POST /v1.41/volumes/create", `{"Name":"old","ClusterVolumeSpec":{}}`, 201, `{"CreatedAt":"`},
		{"POST /volumes/create", `{}`, 201, `{"CreatedAt":"`},
		{"GET /volumes/vol", "", 200, `{"CreatedAt":"`},
		{"GET /volumes/none", "", 404, `{"message":"get none: no such volume"}`},
		{"GET /volumes?filters={", "", 400, `{"message":"error reading volume filters: `},
		{"GET /volumes?filters={%22x%22:[%22y%22]}", "", 400, `{"message":"invalid filter 'x'"}`},
		{"GET /volumes?filters={%22driver%22:[%22other%22]}", "", 200, `{"Volumes":[],"Warnings":null}`},
		{"GET /volumes?filters={%22dangling%22:[%22no%22]}", "", 400, `{"message":"invalid filter 'dangling=[no]'`},
		{"GET /volumes?filters={%22dangling%22:[%22false%22]}", "", 200, `{"Volumes":[],"Warnings":null}`},
		{"GET /volumes?filters={%22label%22:[%22a=c%22]}", "", 200, `{"Volumes":[],"Warnings":null}`},
		{"POST /v1.42/volumes/prune?filters={%22all%22:[%22x%22]}", "", 400, `{"message":"invalid filter 'all'`},
		{"POST /v1.41/volumes/prune?filters={%22label!%22:[%22a=b%22]}", "", 200, `{"VolumesDeleted":["`},
		{"POST /volumes/prune", "", 200, `{"VolumesDeleted":[],"SpaceReclaimed":0}`},
		{"PUT /volumes/vol?version=1", "{}", 503, `{"message":"volume update only valid for cluster volumes, but swarm is unavailable"}`},
		{"DELETE /volumes/vol", "", 204, ""},
		{"DELETE /volumes/vol", "", 404, `{"message":"get vol: no such volume"}`},
		{"DELETE /volumes/vol?force=1", "", 204, ""},
		{"GET /volumes", "", 200, `{"Volumes":[],"Warnings":null}`},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		r := httptest.NewRequest(method, path, strings.NewReader(test.body))
		if test.body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != test.code || !strings.HasPrefix(w.Body.String(), test.want) || test.code == http.StatusNoContent && w.Body.Len() > 0 {
			t.Errorf("%s: %d %s\nwant %d %s", test.request, w.Code, w.Body, test.code, test.want)
		}
	}
}
