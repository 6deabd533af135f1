package networks

import (
	"os"
	"path/filepath"
	"slices"
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

// CheckPublished makes the lists of ports again that a service has at hand for the filter: they must be the same.
func CheckPublished(t *testing.T, s *Service) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, had := range s.published {
		delete(s.published, id)
		if made := s.portsOn(id); !slices.Equal(had, made) {
			t.Errorf("ports of network %s: %v were kept, %v are right", id, had, made)
		}
	}
}
