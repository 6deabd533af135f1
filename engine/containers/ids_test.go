package containers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/idmap"
)

// withPool gives each container of a world one of n ranges.
func withPool(t *testing.T, w *world, n int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "subids")
	if err := os.WriteFile(file, fmt.Appendf(nil, "p:100000:%d\n", n*idmap.Width), 0o600); err != nil {
		t.Fatal(err)
	}
	pool, err := idmap.Files{SubUID: file, SubGID: file}.Pool("p")
	if err != nil {
		t.Fatal(err)
	}
	s := w.parts.Settings()
	s.Users = idmap.Policy{Pool: &pool, Each: true}
	w.parts.Settings = fixed(s)
	w.kill()
	w.boot()
}

func TestRangesAreNobodyElses(t *testing.T) {
	w := newWorld(t)
	const n = 8
	withPool(t, w, n)
	var all sync.WaitGroup
	errs := make([]error, n+4)
	for i := range errs {
		all.Go(func() { _, errs[i] = w.Create(t.Context(), request(fmt.Sprintf("c%d", i))) })
	}
	all.Wait()
	full := 0
	for _, err := range errs {
		if errors.Is(err, idmap.ErrFull) && errors.Is(fault.Class(err), errdefs.ErrUnavailable) {
			full++
		} else if err != nil {
			t.Error(err)
		}
	}
	seen := map[int64]bool{}
	for _, c := range w.parts.Store.List() {
		seen[c.IDs.UIDMaps[0].ParentID] = true
	}
	if full != 4 || len(seen) != n {
		t.Errorf("%d were refused, %d ranges are taken", full, len(seen))
	}
	// The next engine knows what is taken, and what a remove gives back.
	w.kill()
	w.boot()
	if _, err := w.Create(t.Context(), request("late")); !errors.Is(err, idmap.ErrFull) {
		t.Error(err)
	}
	gone := w.parts.Store.List()[0]
	w.must(w.Remove(t.Context(), gone.ID, Remove{}))
	late := w.create(request("late"))
	if c, err := w.parts.Store.Get(late); err != nil || c.IDs.UIDMaps[0] != gone.IDs.UIDMaps[0] {
		t.Error(c.IDs, err)
	}
}

func TestFailedCreateGivesItsRangeBack(t *testing.T) {
	w := newWorld(t)
	withPool(t, w, 1)
	w.fail.set("roots.Create", errors.New("no room"))
	if _, err := w.Create(t.Context(), request("one")); err == nil {
		t.Fatal("it was made")
	}
	w.fail.set("roots.Create", nil)
	w.create(request("two"))
}

func TestWhoHasUsersOfItsOwn(t *testing.T) {
	w := newWorld(t)
	withPool(t, w, 4)
	one := w.create(request("one"))
	first, err := w.parts.Store.Get(one)
	w.must(err)
	same := request("joins")
	same.HostConfig.IpcMode = "container:one"
	host := request("host")
	host.HostConfig.UsernsMode = "host"
	for req, want := range map[*Create]user.IdentityMapping{&same: first.IDs, &host: {}} {
		c, err := w.parts.Store.Get(w.create(*req))
		if err != nil || fmt.Sprint(c.IDs) != fmt.Sprint(want) {
			t.Errorf("%s has %v, want %v: %v", req.Name, c.IDs, want, err)
		}
	}
	for text, change := range map[string]func(*Create){
		"privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode": func(c *Create) { c.HostConfig.Privileged = true },
		"cannot share the host's network namespace when user namespaces are enabled":                                                           func(c *Create) { c.HostConfig.NetworkMode = "host" },
		"cannot share the host PID namespace when user namespaces are enabled":                                                                 func(c *Create) { c.HostConfig.PidMode = "host" },
	} {
		req := request("refused")
		change(&req)
		_, err := w.Create(t.Context(), req)
		refused(t, err, errdefs.ErrInvalidArgument, text)
	}
}
