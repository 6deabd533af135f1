package metrics

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
)

// What a call is, in the words of the grpc_type label.
const (
	Unary        = "unary"
	ClientStream = "client_stream"
	ServerStream = "server_stream"
	BidiStream   = "bidi_stream"
)

// Kind is which of them a stream is.
func Kind(client, server bool) string {
	switch {
	case client && server:
		return BidiStream
	case client:
		return ClientStream
	}
	return ServerStream
}

// Calls counts the calls of a server. The zero value is ready.
type Calls struct {
	mu      sync.Mutex
	started map[call]uint64
	handled map[call]uint64
}

// call is what there is a counter for. The code of those that have only begun is 0.
type call struct {
	method, kind string
	code         codes.Code
}

// Started counts a call of a method, /SERVICE/NAME, that has come.
func (c *Calls) Started(method, kind string) { c.count(&c.started, call{method: method, kind: kind}) }

// Handled counts one that was answered.
func (c *Calls) Handled(method, kind string, code codes.Code) {
	c.count(&c.handled, call{method, kind, code})
}

func (c *Calls) count(in *map[call]uint64, what call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *in == nil {
		*in = map[call]uint64{}
	}
	(*in)[what]++
}

// Families are the counters as they are now.
func (c *Calls) Families() []Family {
	c.mu.Lock()
	defer c.mu.Unlock()
	return []Family{
		{
			Name: "grpc_server_started_total", Help: "RPCs that have come.", Type: Counter,
			Samples: samples(c.started, false),
		},
		{
			Name: "grpc_server_handled_total", Help: "RPCs that were answered, by code.", Type: Counter,
			Samples: samples(c.handled, true),
		},
	}
}

func samples(of map[call]uint64, withCode bool) []Sample {
	var list []Sample
	for c, n := range of {
		service, method, _ := strings.Cut(strings.TrimPrefix(c.method, "/"), "/")
		labels := []Label{{"grpc_method", method}, {"grpc_service", service}, {"grpc_type", c.kind}}
		if withCode {
			labels = append([]Label{{"grpc_code", c.code.String()}}, labels...)
		}
		list = append(list, Sample{Labels: labels, Value: float64(n)})
	}
	slices.SortFunc(list, func(a, b Sample) int {
		return slices.CompareFunc(a.Labels, b.Labels, func(a, b Label) int { return cmp.Compare(a.Value, b.Value) })
	})
	return list
}
