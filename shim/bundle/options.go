package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/options"
)

// OptionsType is the type of the options that a daemon's client gives a shim for runc.
const OptionsType = "containerd.runc.v1.Options"

// emptyType are the options of a sandbox whose client gives none (containerd, client.WithSandboxRuntime).
const emptyType = "google.protobuf.Empty"

// OptionsError says what is wrong with the options: the caller's fault.
type OptionsError struct {
	Type string
	Err  error
}

func (e *OptionsError) Error() string { return fmt.Sprintf("options of type %q: %v", e.Type, e.Err) }

func (e *OptionsError) Unwrap() error { return e.Err }

// DecodeOptions reads the options of a container; nil, or an empty message, are none. The error is an *OptionsError.
func DecodeOptions(a *known.Any) (*options.Options, error) {
	o := &options.Options{}
	if a == nil || a.TypeUrl == "" && len(a.Value) == 0 {
		return o, nil
	}
	switch Type(a) {
	case emptyType:
		return o, nil
	case OptionsType:
		if err := o.UnmarshalVT(a.Value); err != nil {
			return nil, &OptionsError{a.TypeUrl, err}
		}
		return o, nil
	case GenericType:
		o, err := decodeGeneric(a.Value)
		if err != nil {
			return nil, &OptionsError{a.TypeUrl, err}
		}
		return o, nil
	}
	return nil, &OptionsError{a.TypeUrl, errors.New("not one that this shim knows: want " + OptionsType + " or " + GenericType)}
}

// Type is the name of the message in it, without the prefix that protobuf's own library writes.
func Type(a *known.Any) string { return a.TypeUrl[strings.LastIndexByte(a.TypeUrl, '/')+1:] }

// SetOptions keeps the options, as they are decoded now, for the delete action, which is not told them.
func (b *Bundle) SetOptions(a *known.Any) error {
	o, err := DecodeOptions(a)
	if err != nil {
		return err
	}
	data, err := o.MarshalVT()
	if err != nil {
		return err
	}
	return b.write("options", data)
}

// Options reads what SetOptions kept; none where it was not called.
func (b *Bundle) Options() (*options.Options, error) {
	file := b.file("options")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &options.Options{}, nil
	}
	if err != nil {
		return nil, err
	}
	var o options.Options
	if err := o.UnmarshalVT(data); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &o, nil
}

// IsOptions says that DecodeOptions knows the type.
func IsOptions(a *known.Any) bool { return Type(a) == OptionsType || Type(a) == GenericType }
