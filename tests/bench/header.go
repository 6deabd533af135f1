package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"github.com/gantry-containers/gantry/tests/bench/report"
)

// printHeader says on what the numbers were taken, and names the columns.
func (b *bench) printHeader() {
	fmt.Println(report.Machine())
	fmt.Printf("bench    %s, %d pairs per line after %d warm-ups\n", runtime.Version(), b.opts.pairs, warmups)
	fmt.Printf("ours     %s: %s\n", b.opts.ours.path, version(b.opts.ours))
	for _, peer := range b.opts.peers {
		fmt.Printf("peer     %s: %s\n", peer.path, version(peer))
	}
	fmt.Printf("\nmilliseconds; ratio = ours / peer, median of the pairs [95 %% interval]\n")
	fmt.Printf("%-10s %-10s %8s %8s  %-20s   %8s %8s  %s\n",
		"case", "peer", "cpu ours", "cpu peer", "ratio", "wall o.", "wall p.", "ratio")
}

// version is what a side says of itself, on one line.
func version(s side) string {
	out, err := exec.Command(s.path, "--version").Output()
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	kept := lines[:1]
	for _, line := range lines[1:] {
		if strings.HasPrefix(line, "commit:") || strings.HasPrefix(line, "go:") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, ", ")
}
