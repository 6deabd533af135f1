package shim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// Files in a bundle by which a shim is found again. They are containerd's.
const (
	bootstrapFile = "bootstrap.json"   // the answer of start
	addressFile   = "address"          // the same, of shims before 2.0, which write it themselves
	binaryFile    = "shim-binary-path" // what was started
)

const transport = "ttrpc"

// parseAnswer reads what start printed: a plain address, JSON or BootstrapResult.
func parseAnswer(out []byte) (*bootapi.BootstrapResult, error) {
	text := bytes.TrimSpace(out)
	answer := &bootapi.BootstrapResult{}
	switch {
	case len(text) == 0:
		return nil, fmt.Errorf("it has ended without an answer")
	case text[0] == '{':
		if err := json.Unmarshal(text, answer); err != nil {
			return nil, fmt.Errorf("its answer: %w", err)
		}
	case proto.Unmarshal(out, answer) == nil && answer.Version > 0 && answer.Address != "":
	case plain(text):
		answer = &bootapi.BootstrapResult{Address: string(text)}
	default:
		return nil, fmt.Errorf("its answer is no address: %.100q", text)
	}
	if answer.Version == 0 {
		answer.Version = 2
	}
	if answer.Protocol == "" {
		answer.Protocol = transport
	}
	return answer, checkAnswer(answer)
}

func checkAnswer(a *bootapi.BootstrapResult) error {
	if a.Version != 2 && a.Version != 3 {
		return fmt.Errorf("it serves version %d of the task service, and 2 and 3 are known: %w", a.Version, errdefs.ErrNotImplemented)
	}
	if !strings.EqualFold(a.Protocol, transport) {
		return fmt.Errorf("it speaks %q, and only ttrpc is known: %w", a.Protocol, errdefs.ErrNotImplemented)
	}
	_, err := socketName(a.Address)
	return err
}

// plain tells a text of one line that may be an address.
func plain(text []byte) bool {
	return utf8.Valid(text) && !bytes.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// maxPath is the longest path of a socket that containerd's shims take, in bytes; the kernel has one more (unix(7)).
const maxPath = 106

// socketName is an address as package net wants it. One without a scheme is abstract, as those of old shims.
func socketName(address string) (string, error) {
	address = strings.TrimPrefix(address, transport+"+")
	scheme, name, ok := strings.Cut(address, "://")
	switch {
	case !ok:
		name = "@" + address
	case scheme != "unix":
		return "", fmt.Errorf("the address %q: only unix sockets are known: %w", address, errdefs.ErrNotImplemented)
	case !filepath.IsAbs(name):
		return "", fmt.Errorf("the address %q: the path is not absolute: %w", address, errdefs.ErrInvalidArgument)
	}
	if len(name) > maxPath {
		return "", fmt.Errorf("the address %q: the path has %d bytes, and a socket's may have %d: %w",
			address, len(name), maxPath, errdefs.ErrInvalidArgument)
	}
	return name, nil
}

// save notes in the bundle where its shim is.
func save(b *bundle.Bundle, a *bootapi.BootstrapResult) error {
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return writeFile(b, bootstrapFile, data, 0o644)
}

// writeFile puts a whole file into a bundle, or nothing.
func writeFile(b *bundle.Bundle, name string, data []byte, mode os.FileMode) error {
	path := filepath.Join(b.Path, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil // the state directory may be full
	}
	unfinished := filepath.Join(b.Path, "."+name)
	if err := os.WriteFile(unfinished, data, mode); err != nil {
		os.Remove(unfinished)
		return err
	}
	return os.Rename(unfinished, path)
}

// saved is where the bundle's shim was, or may be, the likelier first.
func (l *Launcher) saved(b *bundle.Bundle) (found []*bootapi.BootstrapResult) {
	for _, name := range []string{bootstrapFile, addressFile} {
		data, err := os.ReadFile(filepath.Join(b.Path, name))
		if err != nil {
			continue
		}
		answer, err := parseAnswer(data)
		if err != nil {
			slog.Warn("where the shim was", "file", filepath.Join(b.Path, name), "error", err)
			continue
		}
		if name == bootstrapFile {
			return []*bootapi.BootstrapResult{answer}
		}
		found = append(found, answer)
	}
	return append(found, l.usualAddress(b)...)
}
