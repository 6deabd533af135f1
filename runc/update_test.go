package main

import (
	"errors"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"-1": -1, "0": 0, "1024": 1024, "10b": 10, "1k": 1024, "1K": 1024, "1kb": 1024, "1KiB": 1024, "50M": 50 << 20, "50mb": 50 << 20,
		"1.5g": 3 << 29, "2T": 2 << 40, "1p": 1 << 50, "64 MB": 64 << 20, "3i": 0,
	} {
		got, err := parseSize(text)
		if bad := text == "3i"; bad != (err != nil) || !bad && got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-2", "1x", "1kk", "k", "1e3", "0x10", "1.2.3", "+5", " 5", "NaN", "inf", "9000p", "5 0", "5mm", "5bk"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

// TestEveryLimitFlagSetsItsField and nothing else, and its errors are told by its name.
func TestEveryLimitFlagSetsItsField(t *testing.T) {
	for _, l := range limitFlags() {
		t.Run(l.name, func(t *testing.T) {
			r := &specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, Pids: &specs.LinuxPids{}, BlockIO: &specs.LinuxBlockIO{}}
			if err := l.set(r, "7"); err != nil {
				t.Fatal(err)
			}
			if got := onlySet(r); got != l.field {
				t.Errorf("sets %q, not %s", got, l.field)
			}
			for _, err := range []error{
				&validate.Error{Problems: []validate.Problem{{Path: "linux.resources." + l.field, Rule: "is wrong"}}},
				&libcontainer.UpdateError{Field: "linux.resources." + l.field, Err: errors.New("is wrong")},
			} {
				if got, want := nameFlags(err).Error(), "--"+l.name+": is wrong"; got != want {
					t.Errorf("error %q, want %q", got, want)
				}
			}
		})
	}
}

// onlySet names the one field that is 7.
func onlySet(r *specs.LinuxResources) (field string) {
	note := func(name string, set bool) {
		if set {
			field += name
		}
	}
	signed := func(n *int64) bool { return n != nil && *n == 7 }
	unsigned := func(n *uint64) bool { return n != nil && *n == 7 }
	note("blockIO.weight", r.BlockIO.Weight != nil && *r.BlockIO.Weight == 7)
	note("cpu.period", unsigned(r.CPU.Period))
	note("cpu.quota", signed(r.CPU.Quota))
	note("cpu.burst", unsigned(r.CPU.Burst))
	note("cpu.shares", unsigned(r.CPU.Shares))
	note("cpu.realtimePeriod", unsigned(r.CPU.RealtimePeriod))
	note("cpu.realtimeRuntime", signed(r.CPU.RealtimeRuntime))
	note("cpu.cpus", r.CPU.Cpus == "7")
	note("cpu.mems", r.CPU.Mems == "7")
	note("cpu.idle", signed(r.CPU.Idle))
	note("memory.limit", signed(r.Memory.Limit))
	note("memory.reservation", signed(r.Memory.Reservation))
	note("memory.swap", signed(r.Memory.Swap))
	note("pids.limit", signed(r.Pids.Limit))
	return field
}
