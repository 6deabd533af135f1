package apidiff

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/harness"
)

// What there is at both engines, in each lane. They stand for names of the lane wherever a request has them.
const (
	Running   = "RUNNING"
	Stopped   = "STOPPED"
	Renamed   = "RENAMED"
	Fresh     = "FRESH"
	volume    = "VOLUME"
	execution = "EXEC"
)

const (
	image = "busybox:gantry"
	kept  = "kept:1" // the same image, which no request removes
)

// Lane is an engine with things of its own that requests are about, so that several can be sent at a time.
type Lane struct {
	t      testing.TB
	client *http.Client
	number int
	socket string
}

// NewLane talks to a socket.
func NewLane(t testing.TB, socket string, number int) *Lane {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &Lane{t: t, client: &http.Client{Transport: transport, Timeout: harness.Limit(20 * time.Second)}, number: number, socket: socket}
}

// named puts the lane's names in.
func (l *Lane) named(s string) string {
	for _, word := range []string{Running, Stopped, Renamed, Fresh, volume} {
		s = strings.ReplaceAll(s, word, l.name(word))
	}
	return s
}

func (l *Lane) name(word string) string { return strings.ToLower(word) + "-" + strconv.Itoa(l.number) }

// do sends a request and reads all of the answer.
func (l *Lane) do(method, path, body string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(l.t.Context(), method, "http://engine"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := l.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, b, err
}

// must sends a request that has to succeed.
func (l *Lane) must(method, path, body string) error {
	code, answer, err := l.do(method, path, body)
	if err == nil && code >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %d %s", method, path, code, answer)
	}
	return err
}

// Furnish makes the things of the lane, or those that have gone; it ends what was started.
func (l *Lane) Furnish() error {
	tag := "/images/" + kept + "/tag?repo=busybox&tag=gantry"
	if err := l.must("POST", tag, ""); err != nil {
		// moby loses a race with another lane that tags the same: it is there then.
		if err := l.must("POST", tag, ""); err != nil {
			return err
		}
	}
	if err := l.must("POST", "/volumes/create", `{"Name":"`+l.name(volume)+`","Labels":{"a":"b"}}`); err != nil {
		return err
	}
	for _, word := range []string{Renamed, Fresh} {
		if _, _, err := l.do("DELETE", "/containers/"+l.name(word)+"?force=1&v=1", ""); err != nil {
			return err
		}
	}
	if err := l.container(Running, `["sleep","1000"]`); err != nil {
		return err
	}
	return l.container(Stopped, `["echo","out"]`)
}

type state struct {
	State struct {
		Status          string
		Running, Paused bool
	}
}

// container makes one container as it was in the beginning, with as little as it takes.
func (l *Lane) container(word, cmd string) error {
	path := "/containers/" + l.name(word)
	code, answer, err := l.do("GET", path+"/json", "")
	if err != nil {
		return err
	}
	var now state
	if err := json.Unmarshal(answer, &now); err != nil {
		return err
	}
	if code == http.StatusNotFound {
		body := `{"Image":"` + kept + `","Cmd":` + cmd + `,"Labels":{"a":"b"},"Volumes":{"/v":{}},"StopSignal":"KILL","HostConfig":{"NetworkMode":"none","Binds":["` + l.name(volume) + `:/vol"]}}`
		if err := l.must("POST", "/containers/create?name="+l.name(word), body); err != nil {
			return err
		}
	}
	if now.State.Paused {
		if err := l.must("POST", path+"/unpause", ""); err != nil {
			return err
		}
	}
	if now.State.Status != "exited" && !now.State.Running || word == Running && !now.State.Running {
		if err := l.must("POST", path+"/start", ""); err != nil {
			return err
		}
	}
	if word == Stopped {
		return l.must("POST", path+"/wait", "")
	}
	return nil
}

var trials atomic.Int64

// Send sends a request in an API version.
func (l *Lane) Send(r *Request, version string) (*Answer, error) {
	subject := l.named(r.Subject)
	if subject == execution {
		var err error
		if subject, err = l.exec(); err != nil {
			return nil, err
		}
	}
	path := strings.NewReplacer("{id}", url.PathEscape(subject), "{name}", subject).Replace(r.Operation.Path)
	q := url.Values{}
	maps.Copy(q, r.Query)
	for key := range q {
		q.Set(key, l.named(q.Get(key)))
	}
	create := r.Operation.String() == "POST /containers/create"
	if create && !q.Has("name") {
		q.Set("name", fmt.Sprintf("trial-%d", trials.Add(1)))
	}
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
		if r.json() {
			body = strings.NewReader(l.named(string(r.Body)))
		}
	}
	request, err := http.NewRequestWithContext(l.t.Context(), r.Operation.Method, "http://engine/v"+version+path+"?"+q.Encode(), body)
	if err != nil {
		return nil, err
	}
	for key, value := range r.Header {
		request.Header.Set(key, value)
	}
	if r.ContentType != "" {
		request.Header.Set("Content-Type", r.ContentType)
	}
	request.Close = r.Operation.Path == "/build" // moby's panics reading two at a time
	response, err := l.client.Do(request)
	if err != nil {
		return nil, err
	}
	a, err := read(response)
	if err != nil || a.Status >= http.StatusMultipleChoices {
		return a, err
	}
	if create {
		err = l.inspect(a, q.Get("name"), version)
		if err == nil {
			err = l.must("DELETE", "/containers/"+q.Get("name")+"?force=1&v=1", "")
		}
	} else if inspected[r.Operation.String()] {
		err = l.inspect(a, subject, version)
	}
	return a, err
}

// inspected are operations after which the container is looked at: what they did shows there.
var inspected = map[string]bool{
	"POST /containers/{id}/update": true, "POST /containers/{id}/pause": true, "POST /containers/{id}/unpause": true,
	"POST /containers/{id}/kill": false, "POST /containers/{id}/stop": true,
}

// inspect adds what a container looks like.
func (l *Lane) inspect(a *Answer, name, version string) error {
	_, answer, err := l.do("GET", "/v"+version+"/containers/"+name+"/json", "")
	if err != nil {
		return err
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(answer))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return err
	}
	a.Lines = append(a.Lines, flatten("inspect", v)...)
	return nil
}

// exec is a new exec in the running container.
func (l *Lane) exec() (string, error) {
	_, answer, err := l.do("POST", "/containers/"+l.name(Running)+"/exec", `{"Cmd":["true"]}`)
	if err != nil {
		return "", err
	}
	var created struct{ ID string }
	err = json.Unmarshal(answer, &created)
	return created.ID, err
}
