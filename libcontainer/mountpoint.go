package libcontainer

import (
	"fmt"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// mountPointOf returns the mount point that holds a path, proc_pid_mountinfo(5).
func mountPointOf(path string) (string, error) {
	mounts, err := host.MountPoints()
	if err != nil {
		return "", fmt.Errorf("mountinfo: %w", err)
	}
	best := "/"
	for _, m := range mounts {
		if len(m) > len(best) && (path == m || strings.HasPrefix(path, m+"/")) {
			best = m
		}
	}
	return best, nil
}
