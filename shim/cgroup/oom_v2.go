package cgroup

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// watchV2 watches a number in a file of events, which poll(2) tells of, cgroup-v2.rst "[Un]populated Notification".
// Unlike an inotify instance the open file is none of the 128 that all shims have together.
func (o *OOM) watchV2(dir, events, key string) (wait func(), err error) {
	fd, err := unix.Open(dir+"/"+events, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, missing(dir, events, err)
	}
	file := os.NewFile(uintptr(fd), events)
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	o.kills = func() (n uint64, err error) {
		var buf [512]byte
		got, err := file.ReadAt(buf[:], 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		eachPair(buf[:got], func(k []byte, v uint64) {
			if string(k) == key {
				n = v
			}
		})
		return n, nil
	}
	if o.told, err = o.kills(); err != nil {
		file.Close()
		return nil, err
	}
	o.file = file
	return func() {
		// Ready again means that something happened: the poller asks for edges.
		_ = raw.Read(func(uintptr) (done bool) {
			_, err := o.check()
			return err != nil
		})
	}, nil
}
