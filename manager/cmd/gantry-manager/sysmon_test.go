package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// One thread gets the slack, and it is not the one that runs the daemon's main.
func TestCalmSysmon(t *testing.T) {
	if err := calmSysmon(); errors.Is(err, fs.ErrPermission) {
		t.Skip("CAP_SYS_NICE is missing")
	} else if err != nil {
		t.Fatal(err)
	}
	var calm []string
	files, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join("/proc", filepath.Base(f), "timerslack_ns"))
		if err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(sysmonSlack) {
			calm = append(calm, filepath.Base(f))
		}
	}
	if len(calm) != 1 || calm[0] == strconv.Itoa(os.Getpid()) {
		t.Errorf("calm are the threads %v of process %d", calm, os.Getpid())
	}
}
