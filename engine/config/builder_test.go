package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBuilder(t *testing.T) {
	for text, want := range map[string]Builder{
		`{}`:                       {NetworkHost: true},
		`{"gc":{"enabled":false}}`: {NetworkHost: true, GC: BuilderGC{Disabled: true}},
		`{"gc":{"defaultKeepStorage":"1KB","defaultMaxUsedSpace":"2kb"}}`:                             {NetworkHost: true, GC: BuilderGC{Space: Space{Reserved: 1024, MaxUsed: 2048}}},
		`{"entitlements":{"network-host":false,"security-insecure":true}}`:                            {Insecure: true},
		`{"history":{"maxAge":60,"maxEntries":5}}`:                                                    {NetworkHost: true, History: &BuilderHistory{Age: time.Minute, Entries: 5}},
		`{"history":{"maxAge":"1h"}}`:                                                                 {NetworkHost: true, History: &BuilderHistory{Age: time.Hour}},
		`{"gc":{"policy":[{"all":true,"filter":["type=regular","until=24h"],"reservedSpace":"3b"}]}}`: {NetworkHost: true, GC: BuilderGC{Rules: []BuilderRule{{All: true, Keep: 24 * time.Hour, Filters: []string{"type==regular"}, Space: Space{Reserved: 3}}}}},
		`{"gc":{"policy":[{"filter":{"id":{"x":true},"shared":{"":true}}}]}}`:                         {NetworkHost: true, GC: BuilderGC{Rules: []BuilderRule{{Filters: []string{"id~=x,shared"}}}}},
	} {
		got := Builder{NetworkHost: true}
		if err := builder(&got).fill([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", text, d)
		}
	}
}

func TestWrongBuilder(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                                "builder: json",
		`{"gx":1}`:                          `builder: json: unknown field "gx"`,
		`{"gc":{"defaultKeepStorage":"x"}}`: "builder.gc: failed to parse reservedSpace",
		`{"gc":{"policy":[{"filter":["no=1"]}]}}`:          "builder.gc.policy[0]: invalid filter 'no'",
		`{"gc":{"policy":[{"filter":["id=1","id=2"]}]}}`:   `builder.gc.policy[0]: filter "id" expects only one value`,
		`{"gc":{"policy":[{},{"filter":["until=soon"]}]}}`: `builder.gc.policy[1]: "until" filter expects a duration`,
		`{"history":{"maxAge":"soon"}}`:                    "builder.history.maxAge: time",
	} {
		if err := builder(&Builder{}).fill([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
