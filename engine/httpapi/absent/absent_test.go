package absent_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/httpapi/absent"
)

const (
	notManager = `{"message":"This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."}`
	checkpoint = `{"message":"This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it."}`
	noPlugin   = `{"message":"plugin \"x\" not found"}`
	noUpgrade  = `{"message":"no upgrade proto in request"}`
	noSwarm    = `{"message":"swarm mode is not supported by this engine"}`
)

// answers are those of moby 29 without a swarm and without plugins, except where it would begin to have them.
var answers = []struct {
	request, body string
	code          int
	answer        string
}{
	{"GET /v1.24/swarm", "", 503, notManager},
	{"GET /swarm/unlockkey", "", 503, notManager},
	{"POST /swarm/init", "{}", 400, `{"message":"invalid ListenAddr \"\": invalid empty address"}`},
	{"POST /swarm/init", "x", 400, `{"message":"invalid JSON: invalid character 'x' looking for beginning of value"}`},
	{"POST /swarm/init", `{"ListenAddr":"0.0.0.0:2377"}`, 501, noSwarm},
	{"POST /swarm/join", "{}", 400, `{"message":"invalid ListenAddr \"\": invalid empty address"}`},
	{"POST /swarm/join", `{"ListenAddr":"0.0.0.0:2377"}`, 400, `{"message":"at least 1 RemoteAddr is required to join"}`},
	{"POST /swarm/join", `{"ListenAddr":"0.0.0.0:2377","RemoteAddrs":["a"]}`, 501, noSwarm},
	{"POST /swarm/leave?force=1", "", 503, `{"message":"This node is not part of a swarm"}`},
	{"POST /swarm/update", "{}", 400, `{"message":"invalid swarm version '': strconv.ParseUint: parsing \"\": invalid syntax"}`},
	{"POST /swarm/update?version=1", "{}", 503, notManager},
	{"POST /swarm/unlock", "{}", 503, notManager},

	{"GET /services", "", 503, notManager},
	{"GET /services?filters=x", "", 400, `{"message":"invalid filter"}`},
	{"GET /services/x", "", 503, notManager},
	{"POST /services/create", "{}", 503, notManager},
	{"POST /services/x/update", "{}", 400, `{"message":"invalid service version '': strconv.ParseUint: parsing \"\": invalid syntax"}`},
	{"POST /services/x/update?version=1", "{}", 503, notManager},
	{"DELETE /services/x", "", 503, notManager},
	{"GET /services/x/logs", "", 400, `{"message":"must specify at least one of 'stdout' or 'stderr'"}`},
	{"GET /services/x/logs?stdout=1", "", 503, notManager},

	{"GET /nodes", "", 503, notManager},
	{"GET /nodes/x", "", 503, notManager},
	{"DELETE /nodes/x", "", 503, notManager},
	{"POST /nodes/x/update", "{}", 400, `{"message":"invalid node version '': strconv.ParseUint: parsing \"\": invalid syntax"}`},
	{"POST /nodes/x/update?version=1", "{}", 503, notManager},
	{"GET /tasks", "", 503, notManager},
	{"GET /tasks/x", "", 503, notManager},
	{"GET /tasks/x/logs", "", 400, `{"message":"must specify at least one of 'stdout' or 'stderr'"}`},

	{"GET /v1.24/secrets", "", 400, `{"message":"GET /secrets requires minimum API version 1.25"}`},
	{"GET /v1.24/secrets/x", "", 400, `{"message":"GET /secrets/{id} requires minimum API version 1.25"}`},
	{"GET /secrets", "", 503, notManager},
	{"POST /secrets/create", "{}", 503, notManager},
	{"GET /secrets/x", "", 503, notManager},
	{"DELETE /secrets/x", "", 503, notManager},
	{"POST /secrets/x/update", "{}", 400, `{"message":"invalid secret version"}`},
	{"POST /secrets/x/update?version=1", "{}", 503, notManager},
	{"GET /v1.29/configs", "", 400, `{"message":"GET /configs requires minimum API version 1.30"}`},
	{"GET /configs", "", 503, notManager},
	{"POST /configs/create", "{}", 503, notManager},
	{"GET /configs/x", "", 503, notManager},
	{"DELETE /configs/x", "", 503, notManager},
	{"POST /configs/x/update?version=1", "{}", 503, notManager},

	{"GET /plugins", "", 200, "[]"},
	{`GET /plugins?filters={"x":["y"]}`, "", 400, `{"message":"invalid filter 'x'"}`},
	{"GET /plugins/x/json", "", 404, noPlugin},
	{"GET /plugins/privileges?remote=x", "", 501, `{"message":"managed plugins are not supported by this engine"}`},
	{"POST /plugins/pull?remote=x", "{}", 400, `{"message":"invalid JSON: json: cannot unmarshal object into Go value of type plugin.Privileges"}`},
	{"POST /plugins/pull?remote=x", "[]", 501, `{"message":"managed plugins are not supported by this engine"}`},
	{"POST /plugins/create?name=x", "", 501, `{"message":"managed plugins are not supported by this engine"}`},
	{"POST /plugins/x/enable", "", 400, `{"message":"strconv.Atoi: parsing \"\": invalid syntax"}`},
	{"POST /plugins/x/enable?timeout=0", "", 404, noPlugin},
	{"POST /plugins/x/disable", "", 404, noPlugin},
	{"POST /plugins/x/push", "", 404, noPlugin},
	{"POST /plugins/x/upgrade?remote=x", "[]", 404, noPlugin},
	{"POST /v1.25/plugins/x/upgrade?remote=x", "[]", 400, `{"message":"POST /plugins/{name:.*}/upgrade requires minimum API version 1.26"}`},
	{"POST /plugins/x/set", "{}", 400, `{"message":"invalid JSON: json: cannot unmarshal object into Go value of type []string"}`},
	{"POST /plugins/x/set", "[]", 404, noPlugin},
	{"DELETE /plugins/x", "", 404, noPlugin},

	{"PUT /volumes/x?version=1", "{}", 503, `{"message":"volume update only valid for cluster volumes, but swarm is unavailable"}`},
	{"POST /session", "", 400, noUpgrade},
	{"POST /grpc", "", 500, noUpgrade},
	{"GET /containers/x/checkpoints", "", 501, checkpoint},
	{"POST /containers/x/checkpoints", "{}", 501, checkpoint},
	{"DELETE /containers/x/checkpoints/y", "", 501, checkpoint},
}

func TestAnswers(t *testing.T) {
	h := httpapi.New(httpapi.Options{}, absent.Routes(false), absent.BuildKit())
	for _, test := range answers {
		method, path, _ := strings.Cut(test.request, " ")
		path = strings.NewReplacer(`"`, "%22", "{", "%7B", "}", "%7D").Replace(path)
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(test.body))
		if test.body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		got, err := io.ReadAll(rec.Body)
		if err != nil {
			t.Fatal(err)
		}
		if s := strings.TrimSpace(string(got)); rec.Code != test.code || s != test.answer {
			t.Errorf("%s %s: %d %s\nwant %d %s", test.request, test.body, rec.Code, s, test.code, test.answer)
		}
	}
}

// Who asks for BuildKit is told what to do.
func TestBuildKit(t *testing.T) {
	h := httpapi.New(httpapi.Options{}, absent.Routes(false), absent.BuildKit())
	for _, path := range []string{"/session", "/grpc"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, http.NoBody)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "h2c")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != http.StatusNotImplemented || !strings.Contains(rec.Body.String(), "DOCKER_BUILDKIT=0") {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
}
