package system

import (
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// operatingSystem is the name and version of the system below a folder, as os-release(5) has them.
func operatingSystem(root string) (name, version string) {
	name = "Linux"
	for _, file := range []string{"etc/os-release", "usr/lib/os-release"} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			key, val, _ := strings.Cut(strings.TrimSpace(line), "=")
			val = strings.Trim(val, `"' `)
			switch key {
			case "PRETTY_NAME":
				name = val
			case "VERSION_ID":
				version = val
			}
		}
		break
	}
	return name, version
}

// memory is the machine's, in bytes.
func memory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "MemTotal:" {
			kb, _ := strconv.ParseInt(words[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// forwarding says that the machine forwards IPv4.
func forwarding() bool {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// openFiles is the number of this process's descriptors, or -1.
func openFiles() int {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return -1
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return -1
	}
	return len(names) - 1 // The folder itself is open.
}

// masked hides who may use a proxy.
func masked(proxy string) string {
	u, err := url.Parse(proxy)
	if err != nil || u.User == nil {
		return proxy
	}
	u.User = url.UserPassword("xxxxx", "xxxxx")
	return u.String()
}
