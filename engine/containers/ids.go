package containers

import (
	"errors"
	"os"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/idmap"
)

// ranges are ids that containers have which are being made: those that are made have them in their records.
type ranges struct {
	mu   sync.Mutex
	held map[string]user.IdentityMapping
}

// take holds a range for a container that nobody has.
func (r *ranges) take(id string, p *idmap.Pool, store *container.Store) (user.IdentityMapping, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var taken []user.IdentityMapping
	for _, m := range r.held {
		taken = append(taken, m)
	}
	for _, c := range store.List() {
		taken = append(taken, c.IDs)
	}
	m, err := p.Take(taken)
	if err != nil {
		return m, fault.As(errdefs.ErrUnavailable, err)
	}
	if r.held == nil {
		r.held = map[string]user.IdentityMapping{}
	}
	r.held[id] = m
	return m, nil
}

// give lets go of what the container has in its record now, or never will.
func (r *ranges) give(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.held, id)
}

// chooseIDs decides whose ids on the host a new container has. One that joins another has that one's: the kernel ties
// namespaces to users.
func (cr *creator) chooseIDs(c *container.Container) (user.IdentityMapping, error) {
	p := cr.parts.Settings().Users
	hc := c.HostConfig
	host := hc.UsernsMode.IsHost()
	own := p.Own(host, c.Config.Labels)
	if !own && !p.Shared(host) {
		return user.IdentityMapping{}, nil
	}
	// moby's words, with its two spaces.
	switch {
	case hc.Privileged:
		return user.IdentityMapping{}, errors.New("privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode")
	case hc.NetworkMode.IsHost():
		return user.IdentityMapping{}, errors.New("cannot share the host's network namespace when user namespaces are enabled")
	case hc.PidMode.IsHost():
		return user.IdentityMapping{}, errors.New("cannot share the host PID namespace when user namespaces are enabled")
	case !own:
		return p.All, nil
	}
	for _, ref := range donors(c) {
		if other, err := cr.store.Get(ref); err == nil {
			return other.IDs, nil
		}
	}
	return cr.ranges.take(c.ID, p.Pool, cr.store)
}

// donors are the containers whose namespaces a container joins.
func donors(c *container.Container) (refs []string) {
	hc := c.HostConfig
	for _, ref := range []string{hc.NetworkMode.ConnectedContainer(), hc.PidMode.Container(), hc.IpcMode.Container()} {
		if ref != "" {
			refs = append(refs, ref)
		}
	}
	return refs
}

// joinedUsers is the user namespace of the container that another one joins; empty when it gets its own.
func (s *starter) joinedUsers(c *container.Container) (string, error) {
	if c.IDs.Empty() {
		return "", nil
	}
	path := ""
	for _, ref := range donors(c) {
		other, err := s.donor(ref)
		if err != nil {
			return "", err
		}
		own := namespace(other, "user")
		if path != "" && !sameNamespace(path, own) || other.IDs.Empty() {
			return "", fault.Errorf(errdefs.ErrInvalidArgument, "cannot join the namespaces of container %s: it has other users (hint: --userns=host)", ref)
		}
		path = own
	}
	return path, nil
}

func sameNamespace(a, b string) bool {
	x, err := os.Readlink(a)
	y, errToo := os.Readlink(b)
	return err == nil && errToo == nil && x == y
}

// own gives files of the engine that a container writes to its root.
func own(c *container.Container, files ...string) error {
	if c.IDs.Empty() {
		return nil
	}
	uid, gid := c.IDs.RootPair()
	for _, f := range files {
		if f == "" {
			continue
		}
		if err := os.Lchown(f, uid, gid); err != nil {
			return err
		}
	}
	return nil
}
