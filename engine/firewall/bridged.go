package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// filterBridged has the kernel show us traffic between ports of one bridge, which it forwards without asking the filter
// otherwise. Only networks whose containers may not reach one another need it.
func filterBridged(r Rules) error {
	i := slices.IndexFunc(r.Networks, func(n Network) bool { return n.Isolated })
	if i < 0 {
		return nil
	}
	for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		err := setSwitch("/proc/sys/net/bridge/"+name, "1")
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("network %s: cannot restrict inter-container communication: the kernel has no bridge netfilter (module br_netfilter)", r.Networks[i].ID)
		}
		if err != nil {
			return fmt.Errorf("network %s: cannot restrict inter-container communication: %w", r.Networks[i].ID, err)
		}
	}
	return nil
}

// setSwitch writes a kernel setting that is not so yet.
func setSwitch(path, value string) error {
	now, err := os.ReadFile(path) //nolint:gosec // One of a few fixed settings.
	if err != nil {
		return err
	}
	if string(now) == value+"\n" {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0o644)
}
