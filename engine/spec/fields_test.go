package spec_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"reflect"
	"strings"
	"testing"

	api "github.com/moby/moby/api/types/container"
)

// elsewhere says which package reads a field that this one does not, or why none does.
var elsewhere = map[string]string{
	"Config.AttachStdin":            "engine/containers, engine/keeper: what attach and the log get",
	"Config.AttachStdout":           "engine/containers, engine/keeper",
	"Config.AttachStderr":           "engine/containers, engine/keeper",
	"Config.OpenStdin":              "engine/keeper: whether the container has an input",
	"Config.StdinOnce":              "engine/keeper",
	"Config.Entrypoint":             "engine/containers: as Cmd",
	"Config.Image":                  "engine/containers: what the root is made from",
	"Config.Labels":                 "engine/views, engine/containers: filters, inspect, events",
	"Config.StopTimeout":            "engine/containers: stop",
	"Config.Shell":                  "engine/build, engine/health: the shell form of RUN and HEALTHCHECK",
	"Config.OnBuild":                "engine/build",
	"Config.ArgsEscaped":            "Windows",
	"HostConfig.Binds":              "engine/mounts",
	"HostConfig.GroupAdd":           "engine/containers: gives it to Lookup",
	"HostConfig.VolumesFrom":        "engine/mounts",
	"HostConfig.ContainerIDFile":    "the client, which writes the file",
	"HostConfig.LogConfig":          "engine/logs",
	"HostConfig.StorageOpt":         "engine/rootfs",
	"HostConfig.UsernsMode":         "engine/containers: only the host's user namespace is there, which every value names as long as nothing is remapped",
	"HostConfig.DNSOptions":         "engine/networks: resolv.conf",
	"HostConfig.DNSSearch":          "engine/networks: resolv.conf",
	"HostConfig.Cgroup":             "nobody: container mode of the cgroup was never made by dockerd",
	"HostConfig.Resources.CPUCount": "Windows",
}

// TestFields accounts for every field of a create request: this package reads it, or it is known who does.
func TestFields(t *testing.T) {
	read, elsewhere := selectors(t), maps.Clone(elsewhere)
	for _, name := range append(fields("Config", reflect.TypeFor[api.Config]()), fields("HostConfig", reflect.TypeFor[api.HostConfig]())...) {
		field := name[strings.LastIndex(name, ".")+1:]
		_, listed := elsewhere[name]
		switch {
		case read[field] && listed:
			t.Errorf("%s is read here: take it from the list", name)
		case !read[field] && !listed:
			t.Errorf("%s is read by nobody", name)
		}
		delete(elsewhere, name)
	}
	for name := range elsewhere {
		t.Errorf("there is no %s", name)
	}
}

func fields(of string, t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if f.Anonymous {
			names = append(names, fields(of+"."+f.Name, f.Type)...)
			continue
		}
		names = append(names, of+"."+f.Name)
	}
	return names
}

// selectors are the names after a dot in this package's sources, but for those of other packages.
func selectors(t *testing.T) map[string]bool {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseDir(set, ".", func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0) //nolint:staticcheck // all files are of one package, without build tags
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]bool{"api": true, "host": true, "specs": true, "mount": true, "network": true, "fault": true, "in": true}
	read := map[string]bool{}
	for _, p := range parsed {
		ast.Inspect(p, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); !ok || !packages[x.Name] {
					read[s.Sel.Name] = true
				}
			}
			return true
		})
	}
	return read
}
