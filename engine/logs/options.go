package logs

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/docker/go-units"
)

// Limits of a log when its options say nothing. Those of json-file are ours: dockerd lets it grow until the disk is
// full, which is its oldest complaint.
const (
	jsonSize, jsonFiles   = 10 << 20, 3
	localSize, localFiles = 20 << 20, 5
)

// Limit reads how much is kept from a driver's options. Errors are those of dockerd.
func Limit(driver string, options map[string]string) (Rotation, error) {
	if driver == Local {
		return localLimit(options)
	}
	return jsonLimit(options)
}

// jsonLimit: who names a size or a number of files gets what dockerd makes of it; who names none gets ours. A size of
// -1 turns rotation off.
func jsonLimit(o map[string]string) (Rotation, error) {
	r := Rotation{Size: jsonSize, Files: jsonFiles}
	if v, ok := o["max-size"]; ok {
		r.Files = 1
		if v == "-1" {
			r.Size = -1
		} else {
			var err error
			if r.Size, err = units.FromHumanSize(v); err != nil {
				return r, err
			}
			if r.Size <= 0 {
				return r, errors.New("max-size must be a positive number")
			}
		}
	}
	if v, ok := o["max-file"]; ok {
		var err error
		if r.Files, err = strconv.Atoi(v); err != nil {
			return r, err
		}
		if r.Files < 1 {
			return r, errors.New("max-file cannot be less than 1")
		}
	}
	if v, ok := o["compress"]; ok {
		var err error
		if r.Compress, err = strconv.ParseBool(v); err != nil {
			return r, err
		}
		if r.Compress && (r.Files == 1 || r.Size == -1) {
			return r, errors.New("compress cannot be true when max-file is less than 2 or max-size is not set")
		}
	}
	return r, nil
}

func localLimit(o map[string]string) (Rotation, error) {
	r := Rotation{Size: localSize, Files: localFiles, Compress: true}
	if v, ok := o["max-size"]; ok {
		n, err := units.FromHumanSize(v)
		if err != nil {
			return r, fmt.Errorf("invalid value for max-size: %s: %w", v, err)
		}
		r.Size = n
	}
	if v, ok := o["max-file"]; ok {
		n, err := strconv.Atoi(v)
		if err != nil {
			return r, fmt.Errorf("invalid value for max-file: %s: %w", v, err)
		}
		r.Files = n
	}
	if v, ok := o["compress"]; ok {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return r, fmt.Errorf("invalid boolean value for compress: %w", err)
		}
		r.Compress = b
	}
	switch {
	case r.Size < 0:
		return r, errors.New("max-size must not be negative")
	case r.Files < 0:
		return r, errors.New("max-file must not be negative")
	case r.Compress && r.Files <= 1:
		return r, errors.New("compression cannot be enabled when max file count is 1")
	}
	return r, nil
}

// Mode is how output meets a log that is slow.
type Mode struct {
	// NonBlocking lets entries be lost rather than make the container wait.
	NonBlocking bool
	// Buffer is how many bytes of them wait at most.
	Buffer int64
}

// ModeOf reads the mode from the options of any driver.
func ModeOf(o map[string]string) (Mode, error) {
	m := Mode{NonBlocking: o["mode"] == "non-blocking", Buffer: 1e6}
	if v, ok := o["max-buffer-size"]; ok && m.NonBlocking {
		n, err := units.RAMInBytes(v)
		if err != nil {
			return m, fmt.Errorf("error parsing option max-buffer-size: %w", err)
		}
		m.Buffer = n
	}
	return m, nil
}

// Path is where a driver keeps the log of a container whose folder and id are given; empty when it keeps none.
func Path(driver, dir, id string) string {
	switch driver {
	case None:
		return ""
	case Local:
		return filepath.Join(dir, "local-logs", "container.log")
	}
	return filepath.Join(dir, id+"-json.log")
}
