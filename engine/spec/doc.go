// Package spec is a pure function: container record, image and facts about the host → OCI spec. It also checks what a
// client asks for, and says no in the words that clients know.
package spec
