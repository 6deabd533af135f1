package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/docker/go-connections/tlsconfig"
	"github.com/moby/sys/user"

	"github.com/gantry-containers/gantry/engine/config"
)

// All opens all addresses of a configuration, or none.
func All(c *config.Config) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			all = nil
		}
	}()
	for _, host := range c.Hosts {
		l, err := one(host, c)
		if err != nil {
			return all, fmt.Errorf("listen on %s: %w", host, err)
		}
		all = append(all, l...)
	}
	return all, nil
}

func one(host string, c *config.Config) ([]net.Listener, error) {
	proto, addr, _ := strings.Cut(host, "://")
	switch proto {
	case "unix":
		l, err := unixSocket(addr, c.Group)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	case "fd":
		return fromSystemd(addr)
	case "tcp":
		conf, err := serverTLS(&c.TLS)
		if err != nil {
			return nil, fmt.Errorf("invalid TLS configuration: %w", err)
		}
		l, err := tls.Listen("tcp", addr, conf)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	return nil, fmt.Errorf("unknown kind of address")
}

// serverTLS lets in who has a certificate of the authority, and nobody else.
func serverTLS(t *config.TLS) (*tls.Config, error) {
	if !t.Verify {
		return nil, errors.New("clients must be verified")
	}
	return tlsconfig.Server(tlsconfig.Options{
		CAFile: t.CA, CertFile: t.Cert, KeyFile: t.Key,
		ClientAuth: tls.RequireAndVerifyClientCert, ExclusiveRootPools: true,
	})
}

// unixSocket is a socket that nobody but root and the group can ever connect to. It gets its name when that is true; a
// stale one in its place is replaced, a living one is not.
func unixSocket(path, group string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, errors.New("another process serves it")
	}
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(temp, 0o660)
	if err == nil {
		err = os.Chown(temp, 0, groupID(group))
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		l.Close()
		return nil, errors.Join(err, os.Remove(temp))
	}
	return named{l, path}, nil
}

// named is a unix listener at its final path, which goes when it is closed.
type named struct {
	*net.UnixListener
	path string
}

// Addr implements net.Listener.
func (n named) Addr() net.Addr { return &net.UnixAddr{Name: n.path, Net: "unix"} }

// Close implements net.Listener.
func (n named) Close() error {
	err := n.UnixListener.Close()
	if err == nil {
		err = os.Remove(n.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// groupID is the number of a group. Without the group, or one of that name, the socket is root's.
func groupID(group string) int {
	if group == "" {
		return 0
	}
	if g, err := user.LookupGroup(group); err == nil {
		return g.Gid
	}
	if n, err := strconv.Atoi(group); err == nil {
		return n
	}
	slog.Warn("there is no such group: the socket is for root alone", "group", group)
	return 0
}

// fromSystemd takes sockets that systemd opened: all of them, or the one of a number.
func fromSystemd(addr string) ([]net.Listener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("no sockets found via socket activation: make sure the service was started by systemd")
	}
	if addr == "" || addr == "*" {
		return all, nil
	}
	const first = 3 // systemd's descriptors begin behind stderr: sd_listen_fds(3)
	n, err := strconv.Atoi(addr)
	if err != nil {
		return nil, fmt.Errorf("failed to parse systemd fd address: should be a number: %v", addr)
	}
	if n -= first; n < 0 || n >= len(all) || all[n] == nil {
		return nil, errors.New("too few socket activated files passed in by systemd")
	}
	for i, l := range all {
		if i != n && l != nil {
			l.Close()
		}
	}
	return []net.Listener{all[n]}, nil
}
