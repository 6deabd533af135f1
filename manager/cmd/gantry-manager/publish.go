package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// publish brings an event, an Any on stdin, to the manager of the address: how shims of old do it, by running their
// manager's binary.
func publish(address string, args []string, in io.Reader) error {
	var topic, namespace string
	set := flag.NewFlagSet("publish", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&topic, "topic", "", "")
	set.StringVar(&namespace, "namespace", "", "")
	if err := set.Parse(args); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if topic == "" {
		return errors.New("publish: --topic is missing")
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	var event anypb.Any
	if err := proto.Unmarshal(text, &event); err != nil {
		return fmt.Errorf("publish: stdin is no event: %w", err)
	}
	c, err := grpc.NewClient("unix://"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	defer c.Close() //nolint:errcheck // the answer is there
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), namespace), 10*time.Second)
	defer cancel()
	_, err = eventsapi.NewEventsClient(c).Publish(ctx, &eventsapi.PublishRequest{Topic: topic, Event: &event})
	if err != nil {
		return fmt.Errorf("publish to %s: %w", address, err)
	}
	return nil
}
