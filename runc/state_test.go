package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/libcontainer"
)

// wireState is what runc's clients decode, in the order that runc writes it.
type wireState struct {
	OCIVersion  string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

func TestStateIsWhatEncodingJSONWrites(t *testing.T) {
	created := time.Date(2026, 11, 23, 22, 0, 0, 120_000_000, time.FixedZone("x", 3600))
	for _, c := range []struct {
		name string
		info libcontainer.Info
	}{
		{"nothing known", libcontainer.Info{}},
		{"running", libcontainer.Info{
			OCIVersion: "1.3.0", ID: "c1", PID: 4711, Status: libcontainer.Running,
			Bundle: "/b", Rootfs: "/b/root <fs>", Created: created,
		}},
		{"with annotations", libcontainer.Info{
			ID: "c2", Status: libcontainer.Stopped, Created: created,
			Annotations: map[string]string{"z": "1", "a": "two\nlines", "m": ""},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := c.info
			wire := wireState{
				i.OCIVersion, i.ID, i.PID, string(i.Status), i.Bundle, i.Rootfs, i.Created.UTC(), i.Annotations, "",
			}
			want, err := json.MarshalIndent(wire, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(appendInfo(nil, &i, "", indented))); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			wire.Owner = "root"
			list, err := json.Marshal([]wireState{wire, wire})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(list)+"\n", string(listJSON([]libcontainer.Info{i, i}))); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOwnerNames(t *testing.T) {
	names := userNames("# comment\nroot:x:0:0:root:/root:/bin/sh\nbroken:x\n1000:x:0:0::/:\nme:x:1000:1000::/:\n")
	for uid, want := range map[uint32]string{0: "root", 1000: "me", 7: "#7"} {
		if got := names.of(uid); got != want {
			t.Errorf("uid %d: got %q, want %q", uid, got, want)
		}
	}
}
