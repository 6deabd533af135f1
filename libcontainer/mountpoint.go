package libcontainer

import (
	"fmt"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// mountPointOf returns the mount point that holds a path, proc_pid_mountinfo(5).
func mountPointOf(path string) (string, error) {
	mounts, err := host.Mounts()
	if err != nil {
		return "", fmt.Errorf("mountinfo: %w", err)
	}
	best := "/"
	for _, m := range mounts {
		if len(m.Point) > len(best) && (path == m.Point || strings.HasPrefix(path, m.Point+"/")) {
			best = m.Point
		}
	}
	return best, nil
}
