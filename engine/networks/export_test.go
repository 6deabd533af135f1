package networks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// HostFiles gives the host another resolv.conf and hosts for a test.
func HostFiles(t *testing.T, resolv, hosts string) {
	t.Helper()
	dir := t.TempDir()
	oldResolv, oldHosts := hostResolv, hostHosts
	t.Cleanup(func() { hostResolv, hostHosts = oldResolv, oldHosts })
	hostResolv, hostHosts = filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts")
	for path, content := range map[string]string{hostResolv: resolv, hostHosts: hosts} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Named puts the path of the host's resolv.conf where RESOLV stands.
func Named(s string) string { return strings.ReplaceAll(s, "RESOLV", hostResolv) }
