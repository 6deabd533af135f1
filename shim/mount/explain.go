package mount

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// explained says of an errno of mount(2) which of the paths is meant, where a look at them can tell: overlayfs
// writes that to the kernel's log only.
func explained(err error, source, fstype, dir string, o *options) error {
	if err != unix.ENOENT && err != unix.ENOTDIR {
		return err
	}
	if o.flags&unix.MS_BIND != 0 {
		return fmt.Errorf("%s: %w", source, err)
	}
	if fstype != "overlay" {
		return err
	}
	for _, s := range o.data {
		name, value, _ := strings.Cut(s, "=")
		var layers []string
		switch name {
		case "lowerdir":
			layers = splitLayers(value)
		case "upperdir", "workdir":
			layers = []string{value}
		}
		for _, l := range layers {
			file := unescaped(l)
			if file != "" && file[0] != '/' {
				file = path.Join(dir, file)
			}
			if file != "" && unix.Access(file, unix.F_OK) != nil {
				return fmt.Errorf("%s %s: %w", name, file, err)
			}
		}
	}
	return err
}
