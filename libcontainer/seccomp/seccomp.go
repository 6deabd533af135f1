// Package seccomp turns the linux.seccomp object of config.json into a
// program for seccomp(2).
//
// libseccomp, and with it cgo, lives in a program of its own (the compiler
// folder): the runtime hands it the raw JSON on a cache miss and keeps the
// answer. On a cache hit nothing is decoded and nothing is started.
package seccomp

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// Filter is a profile compiled for this machine.
type Filter struct {
	// Instructions is an array of struct sock_filter in native byte order
	// (seccomp(2)). It is empty when the profile says nothing at all, which
	// is no filter, as in runc.
	Instructions []byte
	// Flags is SECCOMP_FILTER_FLAG_* for seccomp(2), without NEW_LISTENER.
	Flags uint
	// Notify tells that some action is SCMP_ACT_NOTIFY: the caller adds
	// SECCOMP_FILTER_FLAG_NEW_LISTENER and sends the descriptor on.
	Notify bool
	// ListenerPath and ListenerMetadata are the profile's, as given. They
	// mean something only with Notify.
	ListenerPath, ListenerMetadata string
}

const (
	instructionSize = 8 // sizeof(struct sock_filter)
	maxInstructions = 4096
	frameHeader     = 5 * 4
	maxText         = 1 << 20 // bounds each listener field of a frame
)

// AppendFrame appends f in the form in which it travels from the compiler and
// lies in the cache: five lengths and words, then the bytes.
func (f *Filter) AppendFrame(b []byte) []byte {
	notify := uint32(0)
	if f.Notify {
		notify = 1
	}
	for _, word := range [...]uint32{
		uint32(f.Flags), notify, uint32(len(f.Instructions)), uint32(len(f.ListenerPath)), uint32(len(f.ListenerMetadata)),
	} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	b = append(b, f.Instructions...)
	b = append(b, f.ListenerPath...)
	return append(b, f.ListenerMetadata...)
}

// parseFrame reads what AppendFrame wrote. Instructions points into b. It
// answers nil for anything that AppendFrame can't have written.
func parseFrame(b []byte) *Filter {
	if len(b) < frameHeader {
		return nil
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	code, path, meta := int(word(2)), int(word(3)), int(word(4))
	body := b[frameHeader:]
	if word(1) > 1 || code%instructionSize != 0 || code > maxInstructions*instructionSize ||
		path > maxText || meta > maxText || len(body) != code+path+meta {
		return nil
	}
	return &Filter{
		Instructions:     body[:code:code],
		Flags:            uint(word(0)),
		Notify:           word(1) == 1,
		ListenerPath:     string(body[code : code+path]),
		ListenerMetadata: string(body[code+path:]),
	}
}

// CacheDir is where filters are kept: below /run for root, below
// $XDG_RUNTIME_DIR for anybody else. Both are cleared at boot, so a filter
// never meets another kernel than the one it was made on. "" means no cache.
func CacheDir(euid int, xdgRuntimeDir string) string {
	if euid == 0 {
		return "/run/gantry/seccomp"
	}
	if xdgRuntimeDir == "" || xdgRuntimeDir[0] != '/' {
		return ""
	}
	return xdgRuntimeDir + "/gantry/seccomp"
}

// Load returns the filter for raw, the JSON text of linux.seccomp: from
// cacheDir, or compiled and then put there. A cache that can't be used, for
// whatever reason, costs time but is no error. A fault in the profile is a
// *ProfileError.
func Load(raw []byte, cacheDir string) (*Filter, error) {
	id := compilerID()
	if cacheDir != "" {
		if f := lookup(cacheDir, id, raw); f != nil {
			return f, nil
		}
	}
	frame, err := runCompiler(raw, cacheDir)
	if err != nil {
		return nil, err
	}
	f := parseFrame(frame)
	if f == nil {
		return nil, fault.LaunchFailed.Atf("linux.seccomp", "the seccomp compiler gave a malformed answer")
	}
	if cacheDir != "" {
		store(cacheDir, id, raw, frame)
	}
	return f, nil
}

// LibseccompVersion asks the compiler which libseccomp it was built with.
func LibseccompVersion() (string, error) {
	out, err := runCompiler(nil, os.TempDir(), "--version")
	return string(out), err
}

// SupportedFlags lists those of KnownFlags that the running kernel accepts.
func SupportedFlags() []string {
	var flags []string
	for _, name := range KnownFlags() {
		if flag, _ := FlagValue(name); Takes(flag) {
			flags = append(flags, name)
		}
	}
	return flags
}

// Takes asks the running kernel whether it knows a flag. A null filter tells: EFAULT for a
// known one, EINVAL for an unknown one (seccomp(2)).
func Takes(flag uint) bool {
	if flag == unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV {
		flag |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER // is refused without
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flag), 0)
	return errno == unix.EFAULT
}
