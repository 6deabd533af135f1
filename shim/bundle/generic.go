package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gantry-containers/gantry/shim/api/options"
)

// GenericType is the type of the options that clients give a shim whose name they do not know: where a TOML file is,
// or its content. ctr's --runtime-config-path makes one, and so do CRI's and dockerd's configuration of a runtime.
const GenericType = "runtimeoptions.v1.Options"

// The fields of the message (containerd, api/types/runtimeoptions/v1/api.proto). All are bytes on the wire.
const (
	fieldTypeURL    = 1 // which of a runtime's TOML files; we have only one
	fieldConfigPath = 2
	fieldConfigBody = 3
)

func decodeGeneric(message []byte) (*options.Options, error) {
	fields, err := split(message)
	if err != nil {
		return nil, err
	}
	o := &options.Options{}
	if path := string(fields[fieldConfigPath]); path != "" {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("config_path %q: want an absolute path", path)
		}
		text, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("config_path: %w", err)
		}
		if err := parseTOML(string(text), o); err != nil {
			return nil, fmt.Errorf("config_path %s: %w", path, err)
		}
		return o, nil
	}
	if err := parseTOML(string(fields[fieldConfigBody]), o); err != nil {
		return nil, fmt.Errorf("config_body: %w", err)
	}
	return o, nil
}

// maxFile is as much as is read of a file that the client names, in bytes.
const maxFile = 1 << 20

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// split takes a protobuf message apart whose fields are all bytes.
func split(message []byte) (map[uint64][]byte, error) {
	const lengthDelimited = 2
	fields := map[uint64][]byte{}
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 || tag&7 != lengthDelimited {
			return nil, errors.New("not a message of this type")
		}
		message = message[n:]
		size, n := binary.Uvarint(message)
		if n <= 0 || size > uint64(len(message)-n) {
			return nil, errors.New("the message is cut off")
		}
		fields[tag>>3] = message[n : n+int(size)]
		message = message[n+int(size):]
	}
	return fields, nil
}
