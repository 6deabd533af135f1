package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/events"
	"github.com/gantry-containers/gantry/engine/filters"
)

// always is so long ago that all that is remembered is newer.
var always = time.Unix(1, 0)

// past reads all that a bus remembers.
func past(t *testing.T, b *events.Bus, since time.Time, args filters.Args) []string {
	t.Helper()
	l := b.Listen(since, time.Now(), args)
	defer l.Close()
	var ids []string
	for {
		got, err := l.Next(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			return ids
		}
		for _, e := range got {
			ids = append(ids, e.Message.Actor.ID)
		}
	}
}

func TestReplayIsTheLast256(t *testing.T) {
	b := events.NewBus()
	for i := range 5000 {
		b.Publish(api.ContainerEventType, api.ActionStart, fmt.Sprint(i), nil)
	}
	got := past(t, b, always, nil)
	if len(got) != 256 || got[0] != "4744" || got[255] != "4999" {
		t.Errorf("%d events, from %s to %s; want 256, from 4744 to 4999", len(got), got[0], got[len(got)-1])
	}
	if got := past(t, b, time.Now(), nil); len(got) != 0 {
		t.Errorf("events from the future: %v", got)
	}
}

func TestNothingOfThePastUnlessAskedFor(t *testing.T) {
	b := events.NewBus()
	b.Publish(api.ContainerEventType, api.ActionStart, "old", nil)
	l := b.Listen(time.Time{}, time.Time{}, nil)
	defer l.Close()
	b.Publish(api.ContainerEventType, api.ActionStart, "new", nil)
	got, err := l.Next(t.Context(), nil)
	if err != nil || len(got) != 1 || got[0].Message.Actor.ID != "new" {
		t.Errorf("got %v, %v; want the new event alone", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Next(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

func TestUntilEndsListening(t *testing.T) {
	b := events.NewBus()
	l := b.Listen(time.Time{}, time.Now().Add(20*time.Millisecond), nil)
	defer l.Close()
	if got, err := l.Next(t.Context(), nil); len(got) != 0 || err != nil {
		t.Errorf("got %v, %v; want the end", got, err)
	}
}

// Many listeners are woken seldom; what happened before the end of listening is told all the same.
func TestBurstBeforeTheEnd(t *testing.T) {
	b := events.NewBus()
	for range 10000 {
		defer b.Listen(time.Time{}, time.Time{}, nil).Close()
	}
	l := b.Listen(time.Now(), time.Now().Add(100*time.Millisecond), nil)
	defer l.Close()
	var want, got []string
	for i := range 5 {
		want = append(want, fmt.Sprint(i))
		b.Publish(api.ContainerEventType, api.ActionStart, fmt.Sprint(i), nil)
	}
	for {
		list, err := l.Next(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			got = append(got, e.Message.Actor.ID)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWhoIsTooSlowIsCutOff(t *testing.T) {
	b := events.NewBus()
	l := b.Listen(time.Time{}, time.Time{}, nil)
	defer l.Close()
	for range 4097 {
		b.Publish(api.ImageEventType, api.ActionPull, "i", nil)
	}
	if _, err := l.Next(t.Context(), nil); !errors.Is(err, events.ErrSlow) {
		t.Errorf("error %v, want %v", err, events.ErrSlow)
	}
}

func TestFilters(t *testing.T) {
	b := events.NewBus()
	b.Publish(api.ContainerEventType, api.ActionStart, "c1", map[string]string{"name": "web", "image": "busybox:1.36", "tier": "front"})
	b.Publish(api.ContainerEventType, "health_status: healthy", "c2", map[string]string{"name": "db", "image": "postgres"})
	b.Publish(api.ImageEventType, api.ActionPull, "busybox:latest", map[string]string{"name": "busybox"})
	b.Publish(api.NetworkEventType, api.ActionConnect, "n1", map[string]string{"name": "bridge"})
	all := []string{"c1", "c2", "busybox:latest", "n1"}
	tests := map[string]struct {
		args string
		want []string
	}{
		"none":                  {``, all},
		"unknown keys":          {`{"colour":["red"]}`, all},
		"type":                  {`{"type":["network","image"]}`, []string{"busybox:latest", "n1"}},
		"action":                {`{"event":["start"]}`, []string{"c1"}},
		"action with a tail":    {`{"event":["health_status"]}`, []string{"c2"}},
		"scope":                 {`{"scope":["swarm"]}`, nil},
		"container by name":     {`{"container":["we"]}`, []string{"c1"}},
		"container by id":       {`{"container":["c2"]}`, []string{"c2"}},
		"image, all its tags":   {`{"image":["busybox"]}`, []string{"c1", "busybox:latest"}},
		"image with a tag":      {`{"image":["busybox:1.36"]}`, []string{"c1"}},
		"label":                 {`{"label":["tier"]}`, []string{"c1"}},
		"label with a value":    {`{"label":["tier=back"]}`, nil},
		"network":               {`{"network":["bridge"]}`, []string{"n1"}},
		"two keys, both wanted": {`{"type":["container"],"event":["start"]}`, []string{"c1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			args, err := filters.Parse(test.args)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, past(t, b, always, args)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOldFields(t *testing.T) {
	b := events.NewBus()
	attributes := map[string]string{"image": "busybox"}
	b.Publish(api.ContainerEventType, api.ActionStart, "c", attributes)
	attributes["image"] = "changed afterwards"
	b.Publish(api.ImageEventType, api.ActionPull, "i", nil)
	b.Publish(api.VolumeEventType, api.ActionCreate, "v", nil)
	l := b.Listen(always, time.Now(), nil)
	defer l.Close()
	got, err := l.Next(t.Context(), nil)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	want := []map[string]any{
		{"status": "start", "id": "c", "from": "busybox"},
		{"status": "pull", "id": "i"},
		{},
	}
	for i, e := range got {
		var old, now map[string]any
		if err := errors.Join(json.Unmarshal(e.OldJSON(), &old), json.Unmarshal(e.JSON(), &now)); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(e.JSON()), "}\n") {
			t.Errorf("%q: want a line", e.JSON())
		}
		for k := range now {
			if d := cmp.Diff(now[k], old[k]); d != "" {
				t.Errorf("%s: %s", k, d)
			}
			delete(old, k)
		}
		if d := cmp.Diff(want[i], old); d != "" {
			t.Error(d)
		}
	}
	if a := got[2].Message.Actor.Attributes; a == nil {
		t.Error("attributes are null, want an object")
	}
}

// Each event is encoded once, and what a listener costs is its cursor.
func TestManyListeners(t *testing.T) {
	const listeners, n = 1000, 300
	b := events.NewBus()
	ready, done := sync.WaitGroup{}, sync.WaitGroup{}
	lines := make([]*byte, listeners)
	ready.Add(listeners)
	for i := range listeners {
		done.Go(func() {
			l := b.Listen(time.Time{}, time.Time{}, nil)
			defer l.Close()
			ready.Done()
			seen := 0
			for buf := []*events.Event(nil); seen < n; {
				var err error
				if buf, err = l.Next(t.Context(), buf[:0]); err != nil {
					t.Error(err)
					return
				}
				seen += len(buf)
				if line := buf[len(buf)-1].JSON(); seen == n {
					lines[i] = &line[0]
				}
			}
		})
	}
	ready.Wait()
	if got := b.Listeners(); got != listeners {
		t.Errorf("%d listeners, want %d", got, listeners)
	}
	for i := range n {
		b.Publish(api.ContainerEventType, api.ActionStart, fmt.Sprint(i), nil)
		if i%64 == 0 {
			runtime.Gosched()
		}
	}
	done.Wait()
	for _, l := range lines {
		if l != lines[0] {
			t.Fatal("an event was encoded more than once")
		}
	}
	if got := b.Listeners(); got != 0 {
		t.Errorf("%d listeners are left", got)
	}
}
