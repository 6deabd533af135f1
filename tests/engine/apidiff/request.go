package apidiff

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Request is one try of an operation.
type Request struct {
	Operation *Operation
	// Subject takes the place of the path's variable.
	Subject string
	Query   url.Values
	// Body is nil for none. ContentType is set when there is a body.
	Body        []byte
	ContentType string
	Header      map[string]string
	// Property says that one property of a right body is another.
	Property bool
}

// shown is the beginning of the body, without what tar fills up.
func (r *Request) shown() string {
	s := string(r.Body[:min(len(r.Body), 1200)])
	if r.json() {
		return s
	}
	return strings.ReplaceAll(strings.Trim(strconv.Quote(s), `"`), `\x00`, "")
}

// json says that names in the body can be replaced.
func (r *Request) json() bool { return !strings.Contains(r.ContentType, "tar") }

// changes says that the request can change what others need.
func (r *Request) changes() bool {
	o := r.Operation
	return o.Method != "GET" && o.Method != "HEAD" && r.Subject != "nosuch" &&
		(r.Subject != "" || strings.HasSuffix(o.Path, "/prune"))
}

func (r *Request) String() string {
	s := strings.NewReplacer("{id}", r.Subject, "{name}", r.Subject).Replace(r.Operation.String())
	if len(r.Query) > 0 {
		q, _ := url.QueryUnescape(r.Query.Encode())
		s += "?" + q
	}
	if r.Body != nil {
		s += " " + r.shown()
	}
	if r.ContentType != "" && r.ContentType != "application/json" {
		s += " as " + r.ContentType
	}
	return s
}

// subjects are tried in the place of a path's variable: those that exist, and one that does not.
func (o *Operation) subjects() []string {
	switch {
	case !strings.Contains(o.Path, "{"):
		return []string{""}
	case strings.HasSuffix(o.Path, "/wait"): // what runs would not end
		return []string{Stopped, "nosuch"}
	case strings.HasPrefix(o.Path, "/containers"):
		return []string{Running, Stopped, "nosuch"}
	case strings.HasPrefix(o.Path, "/images"):
		return []string{image, "nosuch"}
	case strings.HasPrefix(o.Path, "/volumes"):
		return []string{volume, "nosuch"}
	case strings.HasPrefix(o.Path, "/networks"):
		return []string{"none", "nosuch"}
	case strings.HasPrefix(o.Path, "/exec"):
		return []string{execution, "nosuch"}
	}
	return []string{"nosuch"}
}

// values are tried for a parameter of the query.
func (p *Parameter) values() []string {
	if p.Name == "filters" {
		return []string{`{"label":["a"]}`, `{"label":{"a=b":true}}`, `{bad`, `{"nosuch":["x"]}`, `[]`, `{"dangling":["maybe"]}`, `{"until":["x"]}`}
	}
	switch p.Type {
	case "boolean":
		return []string{"1", "0", "garbage"}
	case "integer":
		return []string{"1", "-1", "garbage"}
	}
	return append([]string{"garbage"}, plausible[p.Name]...)
}

// plausible are values of parameters that a client would send.
var plausible = map[string][]string{
	"ps_args": {"-ef", "-o pid,comm", "-o comm"}, "tail": {"1", "all", "-1"}, "signal": {"KILL", "0", "SIGNOTHING"},
	"condition": {"not-running", "exited"}, "path": {"/etc/passwd", "/nosuch", "relative"}, "platform": {"linux/amd64", `{"os":"linux","architecture":"amd64"}`, `{"os":"x"}`},
	"name": {"bad name", Fresh}, "repo": {"again", "BAD", "again@sha256:"}, "tag": {"t", "bad tag"}, "fromImage": {"127.0.0.1:1/nosuch", "BAD"},
	"term": {"x"}, "remote": {"x"}, "type": {"container", "image", "volume", "build-cache"}, "detachKeys": {"ctrl-a", "ctrl-nothing"},
	"changes": {"ENV A=b", "NOTHING x"}, "container": {Stopped, "nosuch"}, "since": {"1", "1.5", "tomorrow"}, "until": {"1", "tomorrow"},
	"buildargs": {`{"a":"b"}`, "{bad"}, "labels": {`{"a":"b"}`, "{bad"}, "cachefrom": {`["x"]`}, "version": {"1", "9"}, "t": {"BAD", "ok:1"},
	"networkmode": {"none"}, "names": {image, "nosuch"}, "dockerfile": {"../x"}, "outputs": {"x"}, "extrahosts": {"a:1.2.3.4"}, "message": {"m"}, "comment": {"c"}, "author": {"a"},
	"noOverwriteDirNonDir": {"true"}, "copyUIDGID": {"true"},
}

// required are parameters without which a request is not worth much.
func (o *Operation) required() url.Values {
	q := url.Values{}
	for _, p := range o.Parameters {
		switch o.String() + " " + p.Name {
		case "GET /events until":
			q.Set(p.Name, "1")
		case "GET /containers/{id}/logs stdout", "POST /containers/{id}/attach stdout", "POST /containers/{id}/attach logs":
			q.Set(p.Name, "1")
		case "GET /containers/{id}/stats stream":
			q.Set(p.Name, "0")
		case "HEAD /containers/{id}/archive path", "GET /containers/{id}/archive path", "PUT /containers/{id}/archive path":
			q.Set(p.Name, "/etc")
		case "POST /containers/{id}/rename name":
			q.Set(p.Name, Renamed)
		case "POST /images/{name}/tag repo":
			q.Set(p.Name, "again")
		case "POST /commit container":
			q.Set(p.Name, Stopped)
		case "GET /images/get names":
			q.Set(p.Name, image)
		case "POST /containers/{id}/resize h", "POST /containers/{id}/resize w":
			q.Set(p.Name, "10")
		case "POST /containers/{id}/stop t", "POST /containers/{id}/restart t":
			q.Set(p.Name, "0")
		}
	}
	return q
}

// endless are parameters whose yes makes a stream without an end.
var endless = map[string]bool{"follow": true, "stream": true, "stdin": true, "one-shot": true}

// Requests are all tries of an operation. Each parameter is varied alone.
func (o *Operation) Requests() []*Request {
	var all []*Request
	for i, subject := range o.subjects() {
		base := &Request{Operation: o, Subject: subject, Query: o.required()}
		if b := o.body(); b != nil {
			base.Body, base.ContentType = encode(o.sample()), "application/json"
		}
		tars := o.tars()
		if len(tars) > 0 {
			base.Body, base.ContentType = tars[0], "application/x-tar"
		}
		all = append(all, base)
		if i > 0 && subject == "nosuch" {
			continue
		}
		all = append(all, base.queries()...)
		for _, body := range tars[min(1, len(tars)):] {
			v := *base
			v.Body = body
			if o.Path == "/images/create" {
				v.Query = url.Values{"fromSrc": {"-"}, "repo": {"imported"}}
			}
			all = append(all, &v)
		}
		if i == 0 {
			all = append(all, base.bodies()...)
		}
	}
	return all
}

func (r *Request) queries() []*Request {
	var all []*Request
	for _, p := range r.Operation.Parameters {
		if p.In != "query" || endless[p.Name] {
			continue
		}
		for _, value := range p.values() {
			v := *r
			v.Query = maps.Clone(r.Query)
			v.Query.Set(p.Name, value)
			all = append(all, &v)
		}
		if r.Query.Has(p.Name) {
			v := *r
			v.Query = maps.Clone(r.Query)
			v.Query.Del(p.Name)
			if !strings.HasSuffix(r.Operation.Path, "/events") && !strings.HasSuffix(r.Operation.Path, "/stats") && p.Name != "t" {
				all = append(all, &v)
			}
		}
	}
	return all
}

// sample is a body that is right, made anew for each caller.
func (o *Operation) sample() map[string]any {
	switch o.String() {
	case "POST /containers/create":
		return map[string]any{"Image": kept, "HostConfig": map[string]any{"NetworkMode": "none"}}
	case "POST /containers/{id}/exec":
		return map[string]any{"Cmd": []string{"true"}, "AttachStdout": true}
	case "POST /exec/{id}/start":
		return map[string]any{"Detach": true}
	case "POST /auth":
		return map[string]any{"username": "a", "password": "b", "serveraddress": "127.0.0.1:1"}
	}
	return map[string]any{}
}

// encode is a JSON object. Plain values always have one.
func encode(object map[string]any) []byte {
	b, _ := json.Marshal(object)
	return b
}

// bodies are wrong in one place each: as a whole, and in every property.
func (r *Request) bodies() []*Request {
	p := r.Operation.body()
	if p == nil || p.Schema == nil || p.Schema.Type != "object" {
		return nil
	}
	var all []*Request
	try := func(body, contentType string) {
		v := *r
		v.Body, v.ContentType = []byte(body), contentType
		all = append(all, &v)
	}
	for _, body := range []string{"", "{bad", "[]", "null", `"text"`, `{"Unknown":1}`, "{} {}"} {
		try(body, "application/json")
	}
	try(string(encode(r.Operation.sample())), "text/plain")
	try(string(encode(r.Operation.sample())), "")
	for _, path := range slices.Sorted(maps.Keys(properties(p.Schema, ""))) {
		for _, value := range properties(p.Schema, "")[path].values(path) {
			try(string(with(r.Operation.sample(), path, value)), "application/json")
			all[len(all)-1].Property = true
		}
	}
	return all
}

// properties are a schema's properties, those of HostConfig among them ("HostConfig.Memory").
func properties(s *Schema, prefix string) map[string]*Schema {
	all := map[string]*Schema{}
	for name, p := range s.Properties {
		if name == "HostConfig" {
			maps.Copy(all, properties(p, "HostConfig."))
		}
		all[prefix+name] = p
	}
	return all
}

// with sets one property of a JSON object.
func with(object map[string]any, path string, value any) []byte {
	in := object
	for head, rest, more := strings.Cut(path, "."); more; head, rest, more = strings.Cut(rest, ".") {
		next, ok := in[head].(map[string]any)
		if !ok {
			next = map[string]any{}
			in[head] = next
		}
		in, path = next, rest
	}
	in[path] = value
	return encode(object)
}
