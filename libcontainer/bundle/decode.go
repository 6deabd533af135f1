package bundle

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/internal/jsonread"
)

//go:generate go run ../internal/jsongen -out decode_gen.go -decode github.com/opencontainers/runtime-spec/specs-go.Spec,github.com/opencontainers/runtime-spec/specs-go.LinuxSeccomp -keep Linux.Seccomp -present Spec.Solaris,Spec.Windows,Spec.VM,Spec.ZOS,Spec.FreeBSD

type (
	// SyntaxError is the place where a text stops being JSON.
	SyntaxError = jsonread.SyntaxError
	// FieldError is a value of the wrong type, or out of its type's range.
	FieldError = jsonread.FieldError
	// FieldErrors are all such values of a document.
	FieldErrors = jsonread.FieldErrors
)

// Decode decodes a config.json. linux.seccomp is only checked for its syntax and
// returned raw, nil if there is none. Of the sections for other platforms only
// the presence is recorded, as empty structs.
//
// The meaning is that of encoding/json but for this: keys match in their exact
// case, a key that occurs twice counts as its last occurrence alone, a NUL in a
// string is an error, and so are nesting beyond 1000 levels and a document null.
//
// The results alias raw, which must not be modified any more.
func Decode(raw []byte) (spec *specs.Spec, rawSeccomp []byte, err error) {
	r := jsonread.New(raw)
	spec, err = decode(r, decodeSpec, "")
	if err != nil || spec.Linux == nil {
		return spec, nil, err
	}
	return spec, r.Kept, nil
}

// DecodeProcess decodes a process object on its own, as `runc exec --process`
// reads it. Paths in errors start with "process".
func DecodeProcess(raw []byte) (*specs.Process, error) {
	return decode(jsonread.New(raw), decodeProcess, "process")
}

// DecodeSeccomp decodes the object linux.seccomp.
func DecodeSeccomp(raw []byte) (*specs.LinuxSeccomp, error) {
	return decode(jsonread.New(raw), decodeLinuxSeccomp, "linux.seccomp")
}

// DecodeResources decodes an object linux.resources, as `runc update` reads it.
func DecodeResources(raw []byte) (*specs.LinuxResources, error) {
	return decode(jsonread.New(raw), decodeLinuxResources, "linux.resources")
}

// DecodeMounts decodes a list of mounts, as `runc mounts` reads it.
func DecodeMounts(raw []byte) ([]specs.Mount, error) {
	list, err := decode(jsonread.New(raw), func(r *jsonread.Reader, v *[]specs.Mount) {
		jsonread.Slice(r, v, decodeMount)
	}, "mounts")
	if err != nil {
		return nil, err
	}
	return *list, nil
}

func decode[T any](r *jsonread.Reader, read func(*jsonread.Reader, *T), prefix string) (*T, error) {
	v := new(T)
	if r.NotNull() {
		read(r, v)
	}
	if err := r.End(prefix); err != nil {
		return nil, err
	}
	return v, nil
}
