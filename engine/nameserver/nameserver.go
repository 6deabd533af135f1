// Package nameserver answers containers' questions for names, at 127.0.0.11 in their network namespaces. Names that are
// not ours are asked of servers outside, if there are any. All of it happens in one loop.
package nameserver

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/netns"
	"github.com/gantry-containers/gantry/engine/poll"
)

// Sandbox is a network namespace in which names are answered at 127.0.0.11.
type Sandbox struct {
	// ID is the container's.
	ID string
	// Namespace is the path of the network namespace; empty for one whose names are known, and who asks nobody.
	Namespace string
	// Inode is the namespace's; 0 when whatever is at the path is meant.
	Inode uint64
	// Upstream are the servers asked for names that are not ours, as seen from the host's namespace unless InNamespace says
	// otherwise; none for sandboxes that are only on internal networks.
	Upstream []Upstream
	// Endpoints are its places on networks.
	Endpoints []Endpoint
	// Links are further names that only this sandbox knows, of addresses on its networks.
	Links map[string][]netip.Addr
	// NdotsSet says that the user asked for a search list to be tried (ndots above 0): addresses of names without a dot
	// are not asked of others, as the client does so with its search list.
	NdotsSet bool
}

// Upstream is a name server outside.
type Upstream struct {
	Server netip.AddrPort
	// InNamespace says that it is asked from within the sandbox (as its address may only be reachable there).
	InNamespace bool
}

// Endpoint is a place on a network.
type Endpoint struct {
	// Network is its id; NetworkName what follows the container's name in answers to reverse questions.
	Network, NetworkName string
	// Names are the container's name, its short id and its aliases: others on the network find it by them. The first is
	// the one told to reverse questions.
	Names []string
	// Addresses are its IPv4 and IPv6 addresses there.
	Addresses []netip.Addr
}

// Address is where containers ask.
var Address = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// Redirect sends what goes to port 53 of Address, in a network namespace, to the ports of our sockets there.
type Redirect func(namespace int, udp, tcp uint16) error

// Server answers.
type Server struct {
	loop     *poll.Loop
	redirect Redirect
	// changing is held by who changes a sandbox.
	changing sync.Mutex

	// The loop's lock is for all that follows.
	table     table
	sandboxes map[string]*sandbox
	questions int // that are with others
}

// sandbox is one who asks.
type sandbox struct {
	s *Server
	Sandbox
	// sockets is nil for one who only is known.
	*sockets
	questions map[*question]struct{}
	clients   map[*client]struct{}
	// waiting are questions that the process before had; they are asked when everything is here.
	waiting []questionWas
}

// sockets are descriptors of a sandbox: of its namespace, and of the sockets that were opened there.
type sockets struct{ namespace, udp, tcp int }

// New answers nobody yet.
func New(loop *poll.Loop, redirect Redirect) *Server {
	return &Server{loop: loop, redirect: redirect, table: table{}, sandboxes: map[string]*sandbox{}}
}

// Answer begins to answer a sandbox, or changes what is known of it. The namespace lives until it is forgotten.
func (s *Server) Answer(want Sandbox) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if want.ID == "" {
		return errors.New("a sandbox needs an id")
	}
	namespace := -1
	if want.Namespace != "" {
		var err error
		if namespace, err = netns.Open(want.Namespace, want.Inode); err != nil {
			return &os.PathError{Op: "open", Path: want.Namespace, Err: err}
		}
	}
	if s.change(want, namespace) {
		if namespace >= 0 {
			unix.Close(namespace)
		}
		return nil
	}
	next := &sandbox{s: s, Sandbox: want, questions: map[*question]struct{}{}, clients: map[*client]struct{}{}}
	if namespace >= 0 {
		open, err := s.open(namespace)
		if err != nil {
			unix.Close(namespace)
			return fmt.Errorf("answer names in %s: %w", want.Namespace, err)
		}
		next.sockets = open
	}
	s.loop.Lock()
	defer s.loop.Unlock()
	if old := s.sandboxes[want.ID]; old != nil {
		old.close()
	}
	return next.begin()
}

// change changes a sandbox whose namespace remains the same.
func (s *Server) change(want Sandbox, namespace int) bool {
	s.loop.Lock()
	defer s.loop.Unlock()
	old := s.sandboxes[want.ID]
	if old == nil || (old.sockets == nil) != (namespace < 0) || namespace >= 0 && !same(old.namespace, namespace) {
		return false
	}
	s.table.remove(old.Sandbox)
	s.table.add(want)
	old.Sandbox = want
	return true
}

// same says whether two descriptors are of the same namespace.
func same(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// begin makes a sandbox known, and listens to it. The caller holds the lock.
func (sb *sandbox) begin() error {
	sb.s.table.add(sb.Sandbox)
	sb.s.sandboxes[sb.ID] = sb
	if sb.sockets == nil {
		return nil
	}
	err := errors.Join(sb.s.loop.Add(sb.udp, unix.EPOLLIN, datagrams{sb}), sb.s.loop.Add(sb.tcp, unix.EPOLLIN, acceptor{sb}))
	if err != nil {
		sb.close()
	}
	return err
}

// Forget answers a sandbox no more, and others not for it.
func (s *Server) Forget(id string) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.loop.Lock()
	defer s.loop.Unlock()
	if sb := s.sandboxes[id]; sb != nil {
		sb.close()
	}
}

// List is all that is known, in order.
func (s *Server) List() []Sandbox {
	s.loop.Lock()
	defer s.loop.Unlock()
	list := make([]Sandbox, 0, len(s.sandboxes))
	for _, sb := range s.sandboxes {
		list = append(list, sb.Sandbox)
	}
	slices.SortFunc(list, func(a, b Sandbox) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (sb *sandbox) close() {
	sb.s.table.remove(sb.Sandbox)
	delete(sb.s.sandboxes, sb.ID)
	for q := range sb.questions {
		q.end()
	}
	for c := range sb.clients {
		c.close()
	}
	if sb.sockets != nil {
		sb.s.loop.Close(sb.udp)
		sb.s.loop.Close(sb.tcp)
		unix.Close(sb.namespace)
	}
}

// open makes the sockets in a namespace, on ports of the kernel's choice, and leads port 53 there.
func (s *Server) open(namespace int) (*sockets, error) {
	o := &sockets{namespace: namespace, udp: -1, tcp: -1}
	err := poll.In(namespace, func() (err error) {
		if o.udp, err = socket(unix.SOCK_DGRAM); err == nil {
			o.tcp, err = socket(unix.SOCK_STREAM)
		}
		return err
	})
	if err == nil {
		err = unix.Listen(o.tcp, 128)
	}
	if err == nil && s.redirect != nil {
		err = s.redirect(namespace, port(o.udp), port(o.tcp))
	}
	if err != nil {
		unix.Close(o.udp)
		unix.Close(o.tcp)
		return nil, err
	}
	return o, nil
}

func socket(kind int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	// The loopback device may be up only later.
	err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: Address.As4()})
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

func port(fd int) uint16 {
	if a, err := unix.Getsockname(fd); err == nil {
		if four, ok := a.(*unix.SockaddrInet4); ok {
			return uint16(four.Port)
		}
	}
	return 0
}
