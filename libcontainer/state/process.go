package state

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Stat is what /proc/PID/stat tells about a process, proc_pid_stat(5).
type Stat struct {
	State     byte // 'R', 'S', 'D', 'T', 'Z', …
	Parent    int  // pid of the parent
	StartTime uint64
}

// Dead reports whether the process ended and only waits to be reaped.
func (s *Stat) Dead() bool { return s.State == 'Z' || s.State == 'X' || s.State == 'x' }

// ReadStat reads /proc/PID/stat. The error is ESRCH when there is no such process.
func ReadStat(pid int) (Stat, error) {
	// The kernel's longest line is below 700 bytes; the command name has at most 64.
	var path [32]byte
	var buf [1024]byte
	name := append(strconv.AppendInt(append(path[:0], "/proc/"...), int64(pid), 10), "/stat"...)
	fd, err := unix.Open(string(name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		err = unix.ESRCH
	}
	if err != nil {
		return Stat{}, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return Stat{}, fmt.Errorf("read %s: %w", name, err)
	}
	s, ok := parseStat(buf[:n])
	if !ok {
		return Stat{}, fmt.Errorf("%s: not the form of proc_pid_stat(5)", name)
	}
	return s, nil
}

// parseStat reads the fields after the command name, which may itself hold any character,
// spaces and parentheses too.
func parseStat(line []byte) (s Stat, ok bool) {
	end := bytes.LastIndexByte(line, ')')
	if end < 0 || end+2 >= len(line) {
		return Stat{}, false
	}
	const state, parent, startTime = 3, 4, 22 // field numbers of the man page
	number := state
	for rest := line[end+2:]; number <= startTime; number++ {
		var field []byte
		field, rest, ok = bytes.Cut(rest, []byte{' '})
		if !ok || len(field) == 0 {
			return Stat{}, false
		}
		var err error
		switch number {
		case state:
			s.State = field[0]
		case parent:
			s.Parent, err = strconv.Atoi(string(field))
		case startTime:
			s.StartTime, err = strconv.ParseUint(string(field), 10, 64)
		}
		if err != nil {
			return Stat{}, false
		}
	}
	return s, true
}

// Identify returns the process that has the pid now. The caller must know that it is the
// one meant, as a parent knows its child until it reaps it.
func Identify(pid int) (Process, error) {
	s, err := ReadStat(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, StartTime: s.StartTime}, nil
}

// Alive reports whether the very process still runs: a zombie doesn't, and neither does
// another process that got the pid later. The zero Process never runs.
func (p Process) Alive() (bool, error) {
	if p.PID <= 0 {
		return false, nil
	}
	s, err := ReadStat(p.PID)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.StartTime == p.StartTime && !s.Dead(), nil
}

// InnermostPID is what a process is called in its own pid namespace: the last number of
// NSpid in /proc/PID/status, proc_pid_status(5).
func InnermostPID(pid int) (int, error) {
	name := "/proc/" + strconv.Itoa(pid) + "/status"
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	var buf [8192]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	_, rest, ok := bytes.Cut(buf[:n], []byte("\nNSpid:"))
	line, _, end := bytes.Cut(rest, []byte{'\n'})
	fields := bytes.Fields(line)
	if !ok || !end || len(fields) == 0 {
		return 0, fmt.Errorf("%s: no NSpid", name)
	}
	return strconv.Atoi(string(fields[len(fields)-1]))
}
