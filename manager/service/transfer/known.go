package transfer

import (
	// What can be a source or a destination, besides a registry: each package makes its messages known to package plugins.
	_ "github.com/containerd/containerd/v2/core/transfer/archive"
	_ "github.com/containerd/containerd/v2/core/transfer/image"
)
