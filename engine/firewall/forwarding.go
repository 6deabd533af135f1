package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Forward turns on forwarding, of IPv4 always and of IPv6 if asked. A host that has not forwarded before must not become a
// router for others by that: the families answered are for Rules.Forwarding. As a later start sees forwarding on, dir keeps
// a note; it must not outlive a boot, as the kernel's setting does not.
func Forward(dir string, ip6 bool) (Families, error) {
	var ours Families
	var err error
	if ours.IPv4, err = forward(filepath.Join(dir, "forwarding-ipv4"), "/proc/sys/net/ipv4/ip_forward"); err != nil {
		return ours, err
	}
	if !ip6 {
		return ours, nil
	}
	const setting = "/proc/sys/net/ipv6/conf/all/forwarding"
	if _, err := os.Stat(setting); errors.Is(err, fs.ErrNotExist) {
		return ours, fmt.Errorf("turning on IPv6 forwarding: the kernel has no IPv6: %w", err)
	}
	if err := keepAdvertisements(setting); err != nil {
		return ours, err
	}
	ours.IPv6, err = forward(filepath.Join(dir, "forwarding-ipv6"), setting)
	return ours, err
}

// forward says whether it, or an earlier run, has turned the setting on. The note is written first: a crash between leaves a
// host that forwards for nobody else, rather than for all.
func forward(note, setting string) (bool, error) {
	_, err := os.Stat(note)
	ours := err == nil
	now, err := os.ReadFile(setting) //nolint:gosec // One of two fixed settings.
	if err != nil {
		return ours, fmt.Errorf("turning on forwarding: %w", err)
	}
	if strings.TrimSpace(string(now)) == "1" {
		return ours, nil
	}
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		return ours, fmt.Errorf("turning on forwarding: %w", err)
	}
	if err := setSwitch(setting, "1"); err != nil {
		return true, fmt.Errorf("turning on forwarding: %w", err)
	}
	return true, nil
}

// keepAdvertisements lets devices that have their routes from router advertisements go on: the kernel ignores those on a
// host that forwards, unless told otherwise.
func keepAdvertisements(setting string) error {
	if now, err := os.ReadFile(setting); err != nil || strings.TrimSpace(string(now)) == "1" {
		return err
	}
	devices, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, path := range devices {
		if name := filepath.Base(filepath.Dir(path)); name == "all" || name == "default" {
			continue
		}
		now, err := os.ReadFile(path) //nolint:gosec // A setting of a device.
		if errors.Is(err, fs.ErrNotExist) {
			continue // The device has gone.
		}
		if err != nil {
			return fmt.Errorf("turning on IPv6 forwarding: %w", err)
		}
		if strings.TrimSpace(string(now)) != "1" {
			continue
		}
		if err := os.WriteFile(path, []byte("2"), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("turning on IPv6 forwarding: %w", err)
		}
	}
	return nil
}
