package shim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// dial connects to a shim's socket. errdefs.ErrNotFound: nobody listens there.
func dial(ctx context.Context, address string) (net.Conn, error) {
	name, err := socketName(address)
	if err != nil {
		return nil, err
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", name)
		switch {
		case err == nil:
			if err := trusted(conn); err != nil {
				conn.Close()
				return nil, fmt.Errorf("the shim at %s: %w", address, err)
			}
			return conn, nil
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTSOCK):
			return nil, fmt.Errorf("no shim listens at %s: %w: %w", address, err, errdefs.ErrNotFound)
		case !errors.Is(err, unix.EAGAIN): // which says that its queue is full
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the shim at %s takes no connection: %w", address, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// staleAge is the age from which on a socket that refuses is nobody's: a younger one may be between bind(2) and listen(2).
const staleAge = time.Second

// removeStale removes a socket that a dead shim has left. One that has taken its place meanwhile is left alone.
func removeStale(address string) {
	name, err := socketName(address)
	if err != nil || !filepath.IsAbs(name) {
		return
	}
	before, err := identify(name)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := dial(ctx, address)
	if err == nil {
		conn.Close()
		return
	}
	if after, statErr := identify(name); statErr == nil && after == before && errors.Is(err, unix.ECONNREFUSED) {
		os.Remove(name)
	}
}

// removeStaleGroup does so with one that another start may be about to make anew.
func removeStaleGroup(address string) {
	path, ok := strings.CutPrefix(address, "unix://")
	info, err := os.Lstat(path)
	if ok && err == nil && time.Since(info.ModTime()) > staleAge {
		removeStale(address)
	}
}

// trusted tells whether the socket is one that root or this user has made: the kernel keeps who called listen(2).
func trusted(conn net.Conn) error {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, peerErr); err != nil {
		return err
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("its socket is that of user %d: %w", peer.Uid, errdefs.ErrPermissionDenied)
	}
	return nil
}
