//go:build !seccomp_embed

package seccomp

// Without the embedded compiler a program of its own is looked for.
const image, imageID = "", ""
