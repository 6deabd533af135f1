package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// notMounted begins the reason of a program that fails only because a cgroup controller isn't mounted: with
// -controllers it must pass.
const notMounted = "not mounted:"

// loadKnown reads lines of the form "program: reason". Blank lines and lines that begin with # are left out.
func loadKnown(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	known := map[string]string{}
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, reason, found := strings.Cut(line, ": ")
		if !found || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s:%d: want \"program: reason\"", path, n)
		}
		if _, twice := known[name]; twice {
			return nil, fmt.Errorf("%s:%d: %s is listed twice", path, n, name)
		}
		known[name] = strings.TrimSpace(reason)
	}
	return known, scanner.Err()
}
