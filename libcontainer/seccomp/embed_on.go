//go:build seccomp_embed

package seccomp

import _ "embed" // for the two files below

// image is the compiler, imageID the start of its SHA-256. Both come from
// compiler/build; image is only read on a cache miss.
var (
	//go:embed compiler.bin
	image string
	//go:embed compiler.id
	imageID string
)
