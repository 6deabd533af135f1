package faults_test

import (
	"context"
	"os"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/compat/docker"
)

// TestTornRecords damages records while the engine is away. All others are served, the damage is logged, and what
// belongs to a container whose record cannot be read is kept: when the record is mended, it is there again.
func TestTornRecords(t *testing.T) {
	s := start(t, docker.Setup{})
	whole := s.run(want("whole", "sleep 3600"))
	ran := s.run(want("ran", "exit 3"))
	s.until("ran", "exited", func(st *containerState) bool { return st.Status == container.StateExited })
	ids := map[string]string{}
	for _, name := range []string{"garbage", "torn", "other"} {
		ids[name] = s.run(want(name, "echo "+name+" > /kept; sleep 3600"))
	}
	if _, err := s.VolumeCreate(limited(t, patience), client.VolumeCreateOptions{Name: "vol", Labels: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	x, err := s.ExecCreate(limited(t, patience), "whole", client.ExecCreateOptions{Cmd: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Dockerd.Kill()
	definition := func(name string) string { return s.path("data/containers/" + ids[name] + "/container.json") }
	before := map[string][]byte{}
	for name := range ids {
		before[name] = read(definition(name))
	}
	damage := map[string][]byte{
		definition("garbage"):                            []byte("\x00\xff not JSON"),
		definition("torn"):                               before["torn"][:len(before["torn"])/2],
		definition("other"):                              read(s.path("data/containers/" + whole + "/container.json")),
		s.path("data/containers/" + ran + "/state.json"): []byte(`{"Started":`),
		s.path("data/volumes/vol/volume.json"):           []byte("{"),
		s.path("exec/execs/" + x.ID + ".json"):           []byte("{"),
	}
	write(t, damage)
	s.Dockerd.Start()
	list, err := s.ContainerList(limited(t, patience), client.ContainerListOptions{All: true})
	if err != nil || len(list.Items) != 2 {
		t.Errorf("ps: %d, %v; want whole and ran", len(list.Items), err)
	}
	s.exec("whole")
	if st := s.inspect("ran").State; st.Status != container.StateExited {
		t.Errorf("ran: %+v", st)
	}
	if _, err := s.VolumeInspect(limited(t, patience), "vol", client.VolumeInspectOptions{}); err != nil {
		t.Error(err)
	}
	for name, id := range ids {
		if !strings.Contains(s.Dockerd.Log(), id) {
			t.Errorf("the log says nothing about %s", name)
		}
		s.managed(func(ctx context.Context, c *containerd.Client) {
			if _, err := c.SnapshotService("overlayfs").Stat(ctx, id); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	s.Dockerd.Kill()
	mended := map[string][]byte{}
	for name := range ids {
		mended[definition(name)] = before[name]
	}
	write(t, mended)
	s.Dockerd.Start()
	for name := range ids {
		if st := s.inspect(name).State; !st.Running {
			t.Errorf("%s: it was running, and nobody ended it: %+v", name, st)
			continue
		}
		s.exec(name)
	}
	if _, err := s.VolumeRemove(limited(t, patience), "vol", client.VolumeRemoveOptions{}); err != nil {
		t.Error(err)
	}
	_ = os.Remove(s.path("exec/execs/" + x.ID + ".json")) // It is nobody's.
	s.nothing()
}

func write(t *testing.T, files map[string][]byte) {
	t.Helper()
	for path, content := range files {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
