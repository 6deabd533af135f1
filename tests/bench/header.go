package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// printHeader says on what the numbers were taken, and names the columns.
func (b *bench) printHeader() {
	var uts unix.Utsname
	_ = unix.Uname(&uts)                    // fails for a bad pointer only
	load, _ := os.ReadFile("/proc/loadavg") // a header without it is still a header
	fmt.Printf("machine  %s, %d CPUs, Linux %s %s, load %s\n", cpuModel(), runtime.NumCPU(),
		unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Machine[:]), firstField(string(load)))
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

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		if name, value, found := strings.Cut(scanner.Text(), ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func firstField(text string) string {
	field, _, _ := strings.Cut(text, " ")
	return field
}
