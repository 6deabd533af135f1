package main

import (
	"errors"
	"math"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// limitFlag is a flag of update that stands for one field of linux.resources.
type limitFlag struct {
	name, field, usage string
	set                func(r *specs.LinuxResources, value string) error
}

func limitFlags() []limitFlag {
	return []limitFlag{
		{"blkio-weight", "blockIO.weight", "`WEIGHT` of block I/O, 10 to 1000", func(r *specs.LinuxResources, s string) error {
			n, err := parseUint(s, 16)
			r.BlockIO.Weight = new(uint16(n))
			return err
		}},
		{"cpu-period", "cpu.period", "`µs` that the CPU quota is for", unsigned(func(r *specs.LinuxResources) **uint64 { return &r.CPU.Period })},
		{"cpu-quota", "cpu.quota", "CPU time in `µs` a period; -1 is no limit", signed(func(r *specs.LinuxResources) **int64 { return &r.CPU.Quota })},
		{"cpu-burst", "cpu.burst", "unused CPU time in `µs` that may be used later, at most the quota", unsigned(func(r *specs.LinuxResources) **uint64 { return &r.CPU.Burst })},
		{"cpu-share", "cpu.shares", "relative CPU `SHARES`, 2 to 262144", unsigned(func(r *specs.LinuxResources) **uint64 { return &r.CPU.Shares })},
		{"cpu-rt-period", "cpu.realtimePeriod", "`µs` that the realtime runtime is for", unsigned(func(r *specs.LinuxResources) **uint64 { return &r.CPU.RealtimePeriod })},
		{"cpu-rt-runtime", "cpu.realtimeRuntime", "realtime CPU time in `µs` a period", signed(func(r *specs.LinuxResources) **int64 { return &r.CPU.RealtimeRuntime })},
		{"cpuset-cpus", "cpu.cpus", "`CPUS` to use, as 0-2,7", func(r *specs.LinuxResources, s string) error {
			r.CPU.Cpus = s
			return nil
		}},
		{"cpuset-mems", "cpu.mems", "memory `NODES` to use", func(r *specs.LinuxResources, s string) error {
			r.CPU.Mems = s
			return nil
		}},
		{"cpu-idle", "cpu.idle", "`1` for SCHED_IDLE, 0 for the usual", signed(func(r *specs.LinuxResources) **int64 { return &r.CPU.Idle })},
		{"memory", "memory.limit", "memory limit, a `SIZE`", size(func(r *specs.LinuxResources) **int64 { return &r.Memory.Limit })},
		{"memory-reservation", "memory.reservation", "memory reservation or soft limit, a `SIZE`", size(func(r *specs.LinuxResources) **int64 { return &r.Memory.Reservation })},
		{"memory-swap", "memory.swap", "limit of memory and swap together, a `SIZE`", size(func(r *specs.LinuxResources) **int64 { return &r.Memory.Swap })},
		{"pids-limit", "pids.limit", "most `PROCESSES`; -1 is no limit", signed(func(r *specs.LinuxResources) **int64 { return &r.Pids.Limit })},
	}
}

func unsigned(field func(*specs.LinuxResources) **uint64) func(*specs.LinuxResources, string) error {
	return func(r *specs.LinuxResources, s string) error {
		n, err := parseUint(s, 64)
		*field(r) = &n
		return err
	}
}

func signed(field func(*specs.LinuxResources) **int64) func(*specs.LinuxResources, string) error {
	return func(r *specs.LinuxResources, s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		*field(r) = &n
		return plainReason(err)
	}
}

func size(field func(*specs.LinuxResources) **int64) func(*specs.LinuxResources, string) error {
	return func(r *specs.LinuxResources, s string) error {
		n, err := parseSize(s)
		*field(r) = &n
		return err
	}
}

func parseUint(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	return n, plainReason(err)
}

// plainReason leaves out the function's name that strconv puts before it.
func plainReason(err error) error {
	if number, ok := errors.AsType[*strconv.NumError](err); ok {
		return number.Err
	}
	return err
}

var errSize = errors.New("not a size: want a number, with a suffix k, M, G, T or P if need be")

// parseSize reads a number of bytes as people write it: 1024, 50M, 1.5g, 64KiB. Suffixes
// are powers of 1024, in any case. -1 is no limit.
func parseSize(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	digits := strings.TrimRight(s, "bBiIkKmMgGtTpP ")
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || strings.Trim(digits, "0123456789.") != "" {
		return 0, errSize
	}
	suffix := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s[len(digits):])), "b")
	power := strings.Index("kmgtp", strings.TrimSuffix(suffix, "i"))
	switch {
	case suffix == "":
		power = -1
	case power < 0 || len(strings.TrimSuffix(suffix, "i")) != 1:
		return 0, errSize
	}
	for range power + 1 {
		n *= 1024
	}
	if n >= math.MaxInt64 {
		return 0, strconv.ErrRange
	}
	return int64(n), nil
}
