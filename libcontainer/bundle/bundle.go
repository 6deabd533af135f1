// Package bundle opens an OCI bundle: a directory with config.json and, usually,
// the root filesystem that it names.
//
// The file is read strictly: keys match exactly, a value must fit the type of its
// field, and all that don't are reported at once with their paths. Whether the
// values make sense together is the business of package validate.
package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// ConfigFile is the name of the file in a bundle that describes the container.
const ConfigFile = "config.json"

// MaxConfigSize is the size in bytes of the largest config.json that Load reads,
// 16 MiB. Real ones have 3 to 30 KiB, and each byte is kept in memory.
const MaxConfigSize = 16 << 20

// Bundle is a loaded bundle. It is not changed after Load: strings in Spec share
// the memory of Raw.
type Bundle struct {
	Dir string // absolute
	// Spec is config.json decoded, but Spec.Linux.Seccomp is always nil.
	Spec *specs.Spec
	Raw  []byte // config.json as it was read
	// RawSeccomp is the JSON object linux.seccomp, a part of Raw; nil when it is
	// absent or null. DecodeSeccomp decodes it.
	RawSeccomp []byte
}

// Load reads the bundle in dir. A config.json that is not there wraps unix.ENOENT,
// one that is not JSON a *SyntaxError; values of wrong types are FieldErrors.
func Load(dir string) (*Bundle, error) { return LoadAs(dir, "") }

// LoadAs is Load with another file as config.json, whose directory may be another; "" is
// the bundle's own.
func LoadAs(dir, file string) (*Bundle, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.BundleUnreadable.Errorf("bundle %q: %w", dir, err)
	}
	if file == "" {
		file = filepath.Join(abs, ConfigFile)
	}
	raw, err := readConfig(file)
	if err != nil {
		return nil, err
	}
	spec, seccomp, err := Decode(raw)
	var syntax *SyntaxError
	var field *FieldError
	if errors.As(err, &syntax) || errors.As(err, &field) && field.Path == "" {
		return nil, fmt.Errorf("%s: %w", ConfigFile, err)
	}
	if err != nil {
		return nil, err
	}
	return &Bundle{Dir: abs, Spec: spec, Raw: raw, RawSeccomp: seccomp}, nil
}

// ReadFile reads a JSON file that a user named, under the same rules as config.json: at most
// MaxConfigSize bytes. Other than that one it may be a pipe, such as a shell's <(command).
func ReadFile(path string) ([]byte, error) {
	if isPipe(path) {
		return readPipe(path)
	}
	return readConfig(path)
}

func isPipe(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == fs.ModeNamedPipe
}

func readPipe(path string) ([]byte, error) {
	pipe, err := os.Open(path)
	if err != nil {
		return nil, fault.BundleUnreadable.Errorf("%w", err)
	}
	defer pipe.Close()
	b, err := io.ReadAll(io.LimitReader(pipe, MaxConfigSize+1))
	switch {
	case err != nil:
		return nil, fault.BundleUnreadable.Errorf("%w", err)
	case len(b) > MaxConfigSize:
		return nil, fault.BundleUnreadable.Errorf("%s: more than the limit of %d bytes", path, MaxConfigSize)
	}
	return b, nil
}
