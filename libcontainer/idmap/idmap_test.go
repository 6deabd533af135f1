package idmap

import (
	"fmt"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// namespace is the example of crun's manual page.
var namespace = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 2, Size: 1000}}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ value, want string }{
		{"uids=0-1-10#10-11-10;gids=0-100-10", "[{0 1 10} {10 11 10}] [{0 100 10}]"},
		{"gids=0-100-10;uids=0-1-1", "[{0 1 1}] [{0 100 10}]"},
		{"uids=@1-3-10;gids=@0-0-1#1-5-1", "[{1 4 10}] [{0 0 1} {1 5 1}]"},
		{"uids=0-4294967294-1;gids=0-0-1", "[{0 4294967294 1}] [{0 0 1}]"},
	} {
		u, g, err := Parse(tc.value, namespace, namespace)
		if got := fmt.Sprint(u, g); err != nil || got != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.value, got, err, tc.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ value, want string }{
		{"uids=0-0-1", "both"},
		{"gids=0-0-1", "both"},
		{"uids=0-0-1;gids=", "no range"},
		{"uids=0-0-1;uids=1-1-1;gids=0-0-1", "twice"},
		{"users=0-0-1;gids=0-0-1", "neither"},
		{"uids=0-0-1;gids=0-0-1;", "neither"},
		{"uids=0-0;gids=0-0-1", "no range"},
		{"uids=0-0-1-1;gids=0-0-1", "no range"},
		{"uids=0--1-1;gids=0-0-1", "no range"},
		{"uids=+0-1-1;gids=0-0-1", "no range"},
		{"uids=0-4294967296-1;gids=0-0-1", "no range"},
		{"uids=0-0-1#;gids=0-0-1", "no range"},
		{"uids=@0-0-2;gids=0-0-1", "more than one"},
		{"uids=@0-1001-1;gids=0-0-1", "not mapped"},
	} {
		if _, _, err := Parse(tc.value, namespace, namespace); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.value, err, tc.want)
		}
	}
}

func TestCut(t *testing.T) {
	for option, want := range map[string]string{
		"idmap": "{false } true", "ridmap": "{true } true", "idmap=uids=1": "{false uids=1} true",
		"ridmap=x": "{true x} true", "idmapped": "{false } false", "uid=0": "{false } false",
	} {
		o, ok := Cut(option)
		if got := fmt.Sprint(o, ok); got != want {
			t.Errorf("%s: %s, want %s", option, got, want)
		}
	}
}
