package bundle

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gantry-containers/gantry/shim/api/options"
)

// parseTOML reads the options under the names that CRI's configuration gives those of runc, one a line: this much of
// TOML is what there is to say (toml.io/en/v1.0.0).
func parseTOML(text string, o *options.Options) error {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !found {
			return fmt.Errorf("line %d: want KEY = VALUE, got %q", i+1, line)
		}
		key = strings.TrimSpace(key)
		if err := set(o, key, strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("line %d: %s: %w", i+1, key, err)
		}
	}
	return nil
}

func set(o *options.Options, key, value string) (err error) {
	switch strings.ToLower(key) {
	case "binaryname":
		o.BinaryName, err = tomlString(value)
	case "root":
		o.Root, err = tomlString(value)
	case "shimcgroup":
		o.ShimCgroup, err = tomlString(value)
	case "criuimagepath":
		o.CriuImagePath, err = tomlString(value)
	case "criuworkpath":
		o.CriuWorkPath, err = tomlString(value)
	case "systemdcgroup":
		o.SystemdCgroup, err = tomlBool(value)
	case "nopivotroot":
		o.NoPivotRoot, err = tomlBool(value)
	case "nonewkeyring":
		o.NoNewKeyring, err = tomlBool(value)
	case "iouid":
		o.IoUid, err = tomlID(value)
	case "iogid":
		o.IoGid, err = tomlID(value)
	case "typeurl", "configpath", "configbody": // CRI repeats in the body what it made the message of
	default:
		return errors.New("there is no such option")
	}
	return err
}

func tomlString(text string) (string, error) {
	if text != "" && (text[0] == '"' || text[0] == '\'') {
		for end := 1; end < len(text); end++ {
			switch {
			case text[end] == '\\' && text[0] == '"':
				end++
			case text[end] == text[0]:
				return unquote(text[:end+1], text[end+1:])
			}
		}
	}
	return "", fmt.Errorf("want a string, got %s", text)
}

func unquote(quoted, rest string) (string, error) {
	if uncommented(rest) != "" {
		return "", fmt.Errorf("%q after the string", rest)
	}
	if quoted[0] == '\'' {
		return quoted[1 : len(quoted)-1], nil
	}
	s, err := strconv.Unquote(quoted)
	if err != nil {
		return "", fmt.Errorf("%s is not a string of TOML that is understood here", quoted)
	}
	return s, nil
}

func tomlBool(text string) (bool, error) {
	switch uncommented(text) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("want true or false, got %s", text)
}

func tomlID(text string) (uint32, error) {
	id, err := strconv.ParseUint(uncommented(text), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("want a number, got %s", text)
	}
	return uint32(id), nil
}

func uncommented(text string) string {
	text, _, _ = strings.Cut(text, "#")
	return strings.TrimSpace(text)
}
