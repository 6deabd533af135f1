package volumes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// needsMount says that the data is elsewhere: its options name a device.
func (e *entry) needsMount() bool { return e.Options["device"] != "" || e.Options["type"] != "" }

func isMountPoint(path string) bool {
	mounted, err := mountinfo.Mounted(path)
	return err == nil && mounted
}

// Mount makes a volume's data visible at the path that it returns; Unmount gives it back. Both count per container.
func (s *Store) Mount(_ context.Context, name, container string) (path string, err error) {
	s.mu.Lock()
	e, err := s.find(name)
	s.mu.Unlock()
	if err != nil {
		return "", err
	}
	path = s.data(name)
	e.mounting.Lock()
	defer e.mounting.Unlock()
	if e.needsMount() && !e.mounted {
		if err := mountLocal(e.Options, path, net.ResolveIPAddr); err != nil {
			return "", err
		}
		e.mounted = true
	}
	e.mounts[container]++
	return path, nil
}

// Mounted notes a mount that an earlier engine made for a container, which runs.
func (s *Store) Mounted(name, container string) {
	s.mu.Lock()
	e, err := s.find(name)
	s.mu.Unlock()
	if err != nil {
		return
	}
	e.mounting.Lock()
	defer e.mounting.Unlock()
	e.mounts[container]++
}

// Unmount takes away what Mount made for a container, when nobody else uses it. It says whether there was a mount of
// that container.
func (s *Store) Unmount(_ context.Context, name, container string) (was bool, err error) {
	s.mu.Lock()
	e, ok := s.byName[name]
	s.mu.Unlock()
	if !ok {
		return false, nil
	}
	e.mounting.Lock()
	defer e.mounting.Unlock()
	switch e.mounts[container] {
	case 0:
		return false, nil
	case 1:
		delete(e.mounts, container)
	default:
		e.mounts[container]--
	}
	if len(e.mounts) > 0 {
		return true, nil
	}
	return true, e.unmount(s.data(name))
}

// unmount is called with mounting held.
func (e *entry) unmount(path string) error {
	if !e.needsMount() || !e.mounted {
		return nil
	}
	if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); err != nil && isMountPoint(path) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	e.mounted = false
	return nil
}

// resolve finds an address; net.ResolveIPAddr is one.
type resolve func(network, address string) (*net.IPAddr, error)

// mountLocal mounts what a volume's options say. Passwords are not told in errors.
func mountLocal(opts map[string]string, path string, lookup resolve) error {
	device, options, err := resolved(opts, lookup)
	if err != nil {
		return err
	}
	flags, propagation, data := parseFlags(options)
	err = mountFlags(device, path, opts["type"], flags, data)
	if err == nil && propagation != 0 {
		err = unix.Mount("", path, "", propagation, "")
	}
	if err != nil {
		text := fmt.Sprintf("mount %s:%s, flags: 0x%x", device, path, flags)
		if data != "" {
			text += ", data: " + data
		}
		if password := option(options, "password"); password != "" {
			text = strings.Replace(text, "password="+password, "password=********", 1)
		}
		return fmt.Errorf("failed to mount local volume: %s: %w", text, err)
	}
	return nil
}

// mountFlags is mount(2). A bind mount takes its flags only when it is mounted again.
func mountFlags(device, path, kind string, flags uintptr, data string) error {
	if err := unix.Mount(device, path, kind, flags, data); err != nil {
		return err
	}
	if flags&unix.MS_BIND == 0 || flags&^(unix.MS_BIND|unix.MS_REC) == 0 {
		return nil
	}
	if err := unix.Mount("", path, "", flags|unix.MS_REMOUNT, data); err != nil {
		return errors.Join(err, unix.Unmount(path, unix.MNT_DETACH))
	}
	return nil
}

// resolved finds the addresses of network file systems, whose mounts the kernel wants as numbers.
func resolved(opts map[string]string, lookup resolve) (device, options string, err error) {
	device, options = opts["device"], opts["o"]
	if device == "" {
		return "", "", errors.New("missing device in volume options")
	}
	if kind := opts["type"]; kind != "nfs" && kind != "cifs" {
		return device, options, nil
	}
	if addr := option(options, "addr"); addr != "" && net.ParseIP(addr).To4() == nil {
		ip, err := lookup("ip", addr)
		if err != nil {
			return "", "", fmt.Errorf("error resolving passed in network volume address: %w", err)
		}
		return device, strings.Replace(options, "addr="+addr, "addr="+ip.String(), 1), nil
	}
	if opts["type"] != "cifs" {
		return device, options, nil
	}
	u, err := url.Parse(device)
	if err != nil {
		return "", "", fmt.Errorf("error parsing mount device url: %w", err)
	}
	if u.Host == "" || net.ParseIP(u.Host) != nil {
		return device, options, nil
	}
	ip, err := lookup("ip", u.Host)
	if err != nil {
		return "", "", fmt.Errorf("error resolving passed in network volume address: %w", err)
	}
	u.Host = ip.String()
	device, err = url.QueryUnescape(u.String())
	return device, options, err
}

// option is the value of key=value in a list of mount options.
func option(options, key string) string {
	for o := range strings.SplitSeq(options, ",") {
		if v, ok := strings.CutPrefix(o, key+"="); ok {
			return v
		}
	}
	return ""
}

// flag is what a mount option means to mount(2).
type flag struct {
	set, clear uintptr
}

var flags = map[string]flag{
	"defaults":      {},
	"ro":            {set: unix.MS_RDONLY},
	"rw":            {clear: unix.MS_RDONLY},
	"suid":          {clear: unix.MS_NOSUID},
	"nosuid":        {set: unix.MS_NOSUID},
	"dev":           {clear: unix.MS_NODEV},
	"nodev":         {set: unix.MS_NODEV},
	"exec":          {clear: unix.MS_NOEXEC},
	"noexec":        {set: unix.MS_NOEXEC},
	"sync":          {set: unix.MS_SYNCHRONOUS},
	"async":         {clear: unix.MS_SYNCHRONOUS},
	"dirsync":       {set: unix.MS_DIRSYNC},
	"remount":       {set: unix.MS_REMOUNT},
	"mand":          {set: unix.MS_MANDLOCK},
	"nomand":        {clear: unix.MS_MANDLOCK},
	"atime":         {clear: unix.MS_NOATIME},
	"noatime":       {set: unix.MS_NOATIME},
	"diratime":      {clear: unix.MS_NODIRATIME},
	"nodiratime":    {set: unix.MS_NODIRATIME},
	"bind":          {set: unix.MS_BIND},
	"rbind":         {set: unix.MS_BIND | unix.MS_REC},
	"relatime":      {set: unix.MS_RELATIME},
	"norelatime":    {clear: unix.MS_RELATIME},
	"strictatime":   {set: unix.MS_STRICTATIME},
	"nostrictatime": {clear: unix.MS_STRICTATIME},
}

var propagations = map[string]uintptr{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// parseFlags takes options apart: what mount(2) takes as flags, how mounts propagate, and what the file system reads.
func parseFlags(options string) (set, propagation uintptr, data string) {
	var rest []string
	for o := range strings.SplitSeq(options, ",") {
		if f, ok := flags[o]; ok {
			set = set&^f.clear | f.set
		} else if p, ok := propagations[o]; ok {
			propagation |= p
		} else if o != "" {
			rest = append(rest, o)
		}
	}
	return set, propagation, strings.Join(rest, ",")
}
