package bundle

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
)

// rootGroup is the host's number of the container's group 0, where a user namespace gives it another one, else 0.
func rootGroup(spec []byte) (int, error) {
	if spec == nil {
		return 0, nil
	}
	var s struct {
		Linux struct {
			GIDMappings []struct {
				ContainerID uint32 `json:"containerID"`
				HostID      uint32 `json:"hostID"`
			} `json:"gidMappings"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(spec, &s); err != nil {
		return 0, fmt.Errorf("the container's spec: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	for _, m := range s.Linux.GIDMappings {
		if m.ContainerID == 0 {
			return int(m.HostID), nil
		}
	}
	return 0, nil
}

// enterable lets the group pass through the directory, and nothing more.
func enterable(dir string, group int) error {
	if group == 0 {
		return nil
	}
	if err := os.Chown(dir, -1, group); err != nil {
		return err
	}
	return os.Chmod(dir, private|0o010)
}
