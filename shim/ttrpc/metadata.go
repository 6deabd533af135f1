package ttrpc

import (
	"context"

	wire "github.com/gantry-containers/gantry/shim/api/ttrpc"
)

type metadataKey struct{}

func withMetadata(ctx context.Context, data []*wire.KeyValue) context.Context {
	if len(data) == 0 {
		return ctx
	}
	return context.WithValue(ctx, metadataKey{}, data)
}

// Metadata is what the caller said beside the request under this key; "" where it said nothing.
func Metadata(ctx context.Context, key string) string {
	data, _ := ctx.Value(metadataKey{}).([]*wire.KeyValue)
	for _, d := range data {
		if d.Key == key {
			return d.Value
		}
	}
	return ""
}
