package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, problems, err := Open(dir)
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	return s
}

func record(n int) *Container {
	id := fmt.Sprintf("%064d", n)
	return &Container{
		ID: id, Name: fmt.Sprintf("c%d", n), Created: time.Unix(int64(n), 0).UTC(),
		Config: &api.Config{Image: "busybox"}, HostConfig: &api.HostConfig{},
		State: State{Status: Created},
	}
}

func mustCreate(t *testing.T, s *Store, c *Container) {
	t.Helper()
	if err := s.Create(c); err != nil {
		t.Fatal(err)
	}
}

// again reads the folder anew.
func again(t *testing.T, dir string) []*Container {
	t.Helper()
	return open(t, dir).List()
}

func TestRecordsSurvive(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	mustCreate(t, s, record(1))
	mustCreate(t, s, record(2))
	_, err := s.Update(record(1).ID, func(c *Container) error {
		c.Name, c.Started, c.RestartCount = "other", true, 3
		c.State.Status, c.State.Pid, c.State.StartedAt = Running, 7, time.Unix(5, 0).UTC()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s.List(), again(t, dir)); d != "" {
		t.Error(d)
	}
	if s.List()[0].Name != "c2" {
		t.Error("the newest is not the first")
	}
	if err := s.Delete(record(1).ID); err != nil {
		t.Fatal(err)
	}
	if l := again(t, dir); len(l) != 1 {
		t.Errorf("%d records, want 1", len(l))
	}
	if _, err := os.Stat(s.Dir(record(1).ID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
}

// TestStateIsSmall checks that a start does not write what was asked for again.
func TestStateIsSmall(t *testing.T) {
	s := open(t, t.TempDir())
	c := record(1)
	mustCreate(t, s, c)
	path := filepath.Join(s.Dir(c.ID), definitionFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := s.Update(c.ID, func(c *Container) error {
		c.State.Status = Running
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the definition was written: %v", err)
	}
}

func TestPowerLoss(t *testing.T) {
	for name, tc := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   string // the status; "" for an orphan
	}{
		"nothing":             {func(*testing.T, string) {}, "running"},
		"state is empty":      {func(t *testing.T, dir string) { truncate(t, dir, progressFile) }, "exited"},
		"state is gone":       {func(t *testing.T, dir string) { remove(t, dir, progressFile) }, "created"},
		"definition is empty": {func(t *testing.T, dir string) { truncate(t, dir, definitionFile) }, ""},
		"definition is gone":  {func(t *testing.T, dir string) { remove(t, dir, definitionFile) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			c := record(1)
			mustCreate(t, s, c)
			_, err := s.Update(c.ID, func(c *Container) error {
				c.State.Status = Running
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			tc.damage(t, s.Dir(c.ID))
			s = open(t, dir)
			orphans, err := s.Orphans()
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				if len(s.List()) != 0 || len(orphans) != 1 || s.Sweep(orphans[0]) != nil {
					t.Errorf("records %v, orphans %v", s.List(), orphans)
				}
				return
			}
			if len(orphans) != 0 || len(s.List()) != 1 || string(s.List()[0].State.Status) != tc.want {
				t.Errorf("records %+v, orphans %v; want %s", s.List(), orphans, tc.want)
			}
			if err := s.Sweep(c.ID); err == nil {
				t.Error("a container was swept")
			}
		})
	}
}

func truncate(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestBadRecords(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	mustCreate(t, s, record(1))
	for id, text := range map[string]string{
		"garbled":       `{"ID": 7`,
		"not-its-own":   `{"ID": "other"}`,
		"name-is-taken": `{"ID": "name-is-taken", "Name": "c1"}`,
	} {
		if err := os.Mkdir(filepath.Join(dir, id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, id, definitionFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, problems, err := Open(dir)
	if err != nil || len(problems) != 3 || len(s.List()) != 1 {
		t.Errorf("problems %v, records %v, %v", problems, s.List(), err)
	}
}

func TestNames(t *testing.T) {
	s := open(t, t.TempDir())
	one, two := record(1), record(2)
	if err := s.Reserve(one.ID, "c1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("c1"); !errdefs.IsNotFound(err) {
		t.Errorf("a name that is only reserved: %v", err)
	}
	want := `Conflict. The container name "/c1" is already in use by container "` + one.ID + `". ` +
		"You have to remove (or rename) that container to be able to reuse that name."
	if err := s.Reserve(two.ID, "c1"); err == nil || err.Error() != want || !errdefs.IsAlreadyExists(err) {
		t.Errorf("got %v", err)
	}
	s.Unreserve(one.ID, "c1")
	mustCreate(t, s, one)
	mustCreate(t, s, two)
	s.Unreserve(one.ID, "c1") // It is more than reserved.
	rename := func(id, name string) error {
		_, err := s.Update(id, func(c *Container) error {
			c.Name = name
			return nil
		})
		return err
	}
	if err := rename(two.ID, "c1"); !errdefs.IsAlreadyExists(err) {
		t.Errorf("rename to a name that is taken: %v", err)
	}
	if err := rename(one.ID, "new"); err != nil {
		t.Fatal(err)
	}
	if err := rename(two.ID, "c1"); err != nil {
		t.Errorf("the old name is not free: %v", err)
	}
	for ref, name := range map[string]string{"new": "new", "/new": "new", "c1": "c1", one.ID: "new", two.ID: "c1"} {
		if c, err := s.Get(ref); err != nil || c.Name != name {
			t.Errorf("get %s: %+v, %v", ref, c, err)
		}
	}
	for ref, text := range map[string]string{
		"":               `invalid name or ID supplied: ""`,
		"none":           "No such container: none",
		one.ID[:40]:      "multiple IDs found with provided prefix: " + one.ID[:40],
		one.ID + "0":     "No such container: " + one.ID + "0",
		"/" + one.ID[:1]: "No such container: /0",
	} {
		if _, err := s.Get(ref); err == nil || err.Error() != text {
			t.Errorf("get %q: %v, want %q", ref, err, text)
		}
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	c := record(1)
	// A file where the folder shall be.
	if err := os.WriteFile(s.Dir(c.ID), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(c); err == nil {
		t.Fatal("it was created")
	}
	other := record(2)
	other.Name = c.Name
	mustCreate(t, s, other)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestFailedUpdateChangesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	c := record(1)
	mustCreate(t, s, c)
	wrong := errors.New("wrong")
	for name, change := range map[string]func(*Container) error{
		"no": func(c *Container) error {
			c.Name = "other"
			return wrong
		},
		"id": func(c *Container) error {
			c.ID = "other"
			return nil
		},
	} {
		if _, err := s.Update(c.ID, change); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := s.Reserve(record(2).ID, "other"); err != nil {
		t.Error(err)
	}
	if now, err := s.Get("c1"); err != nil || now != c {
		t.Errorf("got %+v, %v", now, err)
	}
}

func TestSnapshotsNeverChange(t *testing.T) {
	s := open(t, t.TempDir())
	c := record(1)
	c.State.Health = &api.Health{Log: []*api.HealthcheckResult{{Output: "first"}}}
	mustCreate(t, s, c)
	_, err := s.Update(c.ID, func(c *Container) error {
		c.State.Health.Status = "unhealthy"
		c.State.Health.Log = append(c.State.Health.Log, &api.HealthcheckResult{})
		c.State.Health.Log[0] = nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.State.Health.Status != "" || c.State.Health.Log[0] == nil {
		t.Errorf("what was read changed: %+v", c.State.Health)
	}
}

func TestChanged(t *testing.T) {
	s := open(t, t.TempDir())
	c := record(1)
	mustCreate(t, s, c)
	ch := s.Changed(c.ID)
	select {
	case <-ch:
		t.Fatal("nothing changed")
	default:
	}
	if _, err := s.Update(c.ID, func(*Container) error { return nil }); err != nil {
		t.Fatal(err)
	}
	<-ch
	ch = s.Changed(c.ID)
	if err := s.Delete(c.ID); err != nil {
		t.Fatal(err)
	}
	<-ch
	<-s.Changed(c.ID) // Nothing will ever change again.
	if err := s.Delete(c.ID); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if _, err := s.Update(c.ID, func(*Container) error { return nil }); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

// TestConcurrency lets many change few containers. With the race detector it shows who shares what.
func TestConcurrency(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	const containers, workers, rounds = 4, 8, 20
	for i := range containers {
		mustCreate(t, s, record(i+1))
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				id := record((w+i)%containers + 1).ID
				unlock := s.Lock(id)
				_, err := s.Update(id, func(c *Container) error {
					c.RestartCount++
					return nil
				})
				unlock()
				if err != nil {
					t.Error(err)
				}
				s.List()
				if _, err := s.Get(strings.TrimLeft(id, "0")); err == nil {
					t.Error("found by its end")
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, c := range again(t, dir) {
		sum += c.RestartCount
	}
	if sum != workers*rounds {
		t.Errorf("%d changes, want %d", sum, workers*rounds)
	}
}

// TestUpdatesDoNotWaitForOthers holds one container's files and changes another one.
func TestUpdatesDoNotWaitForOthers(t *testing.T) {
	s := open(t, t.TempDir())
	mustCreate(t, s, record(1))
	mustCreate(t, s, record(2))
	_, err := s.Update(record(1).ID, func(*Container) error {
		if _, err := s.Update(record(2).ID, func(*Container) error { return nil }); err != nil {
			return err
		}
		_, err := s.Get("c1")
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
