package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"

	"github.com/gantry-containers/gantry/engine/names"
)

// markTopic is the topic of an event of our own: when it comes back, the subscription is there.
const markTopic = "/gantry/engine/mark"

// Watch follows what others change in the manager's images until the context ends. Answers come from memory while it
// does.
func (s *Store) Watch(ctx context.Context) {
	s.sweepLeases(ctx)
	for ctx.Err() == nil {
		err := s.follow(ctx)
		s.index.setLive(false)
		if ctx.Err() != nil {
			return
		}
		slog.Debug("the manager's image events ended", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (s *Store) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ns := "namespace==" + strconv.Quote(s.client.DefaultNamespace())
	stream, errs := s.client.Subscribe(ctx, ns+`,topic~="^/(images|content)/"`, ns+`,topic=="/snapshot/commit"`,
		ns+`,topic=="/snapshot/remove"`, ns+",topic=="+strconv.Quote(markTopic))
	if err := s.mark(ctx, stream, errs); err != nil {
		return err
	}
	if err := s.sync(ctx); err != nil {
		return err
	}
	s.index.setLive(true)
	for {
		select {
		case e := <-stream:
			if err := s.noticed(ctx, e); err != nil {
				return err
			}
		case err := <-errs:
			return errors.Join(err, ctx.Err())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mark waits until the subscription delivers: what happens after it is seen.
func (s *Store) mark(ctx context.Context, stream <-chan *events.Envelope, errs <-chan error) error {
	sent := &eventsapi.NamespaceUpdate{Name: names.ID()}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if err := s.client.EventService().Publish(ctx, markTopic, sent); err != nil {
			return err
		}
		select {
		case e := <-stream:
			var got eventsapi.NamespaceUpdate
			if e != nil && e.Topic == markTopic && typeurl.UnmarshalTo(e.Event, &got) == nil && got.GetName() == sent.GetName() {
				return nil
			}
		case err := <-errs:
			return errors.Join(err, ctx.Err())
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
}

// sync asks the manager for everything.
func (s *Store) sync(ctx context.Context) error {
	for {
		since := s.index.written()
		list, err := s.client.ImageService().List(ctx)
		if err != nil {
			return err
		}
		if s.index.replace(list, since) {
			return nil
		}
	}
}

// fresh makes sure that the index is the truth: it is while events are followed.
func (s *Store) fresh(ctx context.Context) error {
	if s.index.isLive() {
		return nil
	}
	return s.sync(ctx)
}

// refresh asks the manager for one record.
func (s *Store) refresh(ctx context.Context, name string) error {
	for {
		since := s.index.written()
		img, err := s.client.ImageService().Get(ctx, name)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		var found *images.Image
		if err == nil {
			found = &img
		}
		if s.index.apply(name, found, since) {
			return nil
		}
	}
}

func (s *Store) noticed(ctx context.Context, e *events.Envelope) error {
	if e == nil {
		return errors.New("the stream of events ended")
	}
	name, err := subject(e)
	if err != nil || name == "" {
		return err
	}
	if strings.HasPrefix(e.Topic, "/images/") {
		return s.refresh(ctx, name)
	}
	s.index.touched(name)
	return nil
}

// subject is the name, digest or key that an event is about; empty for events of no interest.
func subject(e *events.Envelope) (string, error) {
	read := func(m proto.Message) error {
		if err := typeurl.UnmarshalTo(e.Event, m); err != nil {
			return fmt.Errorf("event %s: %w", e.Topic, err)
		}
		return nil
	}
	switch e.Topic {
	case "/images/create":
		var m eventsapi.ImageCreate
		err := read(&m)
		return m.GetName(), err
	case "/images/update":
		var m eventsapi.ImageUpdate
		err := read(&m)
		return m.GetName(), err
	case "/images/delete":
		var m eventsapi.ImageDelete
		err := read(&m)
		return m.GetName(), err
	case "/content/create":
		var m eventsapi.ContentCreate
		err := read(&m)
		return m.GetDigest(), err
	case "/content/delete":
		var m eventsapi.ContentDelete
		err := read(&m)
		return m.GetDigest(), err
	case "/snapshot/commit":
		var m eventsapi.SnapshotCommit
		err := read(&m)
		return m.GetName(), err
	case "/snapshot/remove":
		var m eventsapi.SnapshotRemove
		err := read(&m)
		return m.GetKey(), err
	}
	return "", nil
}
