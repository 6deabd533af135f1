package container

import (
	"testing"

	api "github.com/moby/moby/api/types/container"
)

func TestGetByLink(t *testing.T) {
	s := open(t, t.TempDir())
	child, parent := record(1), record(2)
	parent.HostConfig = &api.HostConfig{NetworkMode: "default", Links: []string{child.Name + ":/db", child.Name}}
	other := record(3)
	other.HostConfig = &api.HostConfig{NetworkMode: "mine", Links: []string{child.Name + ":db"}}
	for _, c := range []*Container{child, parent, other} {
		mustCreate(t, s, c)
	}
	for ref, found := range map[string]bool{
		parent.Name + "/db": true, "/" + parent.Name + "/db": true, parent.Name + "/" + child.Name: true,
		parent.Name + "/x": false, other.Name + "/db": false, "nobody/db": false, parent.Name + "/": false,
	} {
		c, err := s.Get(ref)
		if (err == nil) != found || found && c.ID != child.ID {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestSplitLink(t *testing.T) {
	for link, want := range map[string][2]string{
		"a": {"a", "a"}, "a:b": {"a", "b"}, "/a:/p/b": {"a", "b"}, "a:/b": {"a", "b"},
	} {
		if name, alias := SplitLink(link); name != want[0] || alias != want[1] {
			t.Errorf("%s: %s, %s", link, name, alias)
		}
	}
}
