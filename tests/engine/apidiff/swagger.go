// Package apidiff sends requests made from moby's swagger to our engine and to moby, and compares the answers: the
// status, the message, and the JSON as a typed client reads it.
package apidiff

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gantry-containers/gantry/tests/harness"
)

// document is what we read of a swagger file.
type document struct {
	Paths       map[string]map[string]*Operation `yaml:"paths"`
	Definitions map[string]*Schema               `yaml:"definitions"`
}

// Operation is one endpoint.
type Operation struct {
	Method     string      `yaml:"-"`
	Path       string      `yaml:"-"`
	Tags       []string    `yaml:"tags"`
	Parameters []Parameter `yaml:"parameters"`
}

// Parameter is a part of a request.
type Parameter struct {
	Name   string  `yaml:"name"`
	In     string  `yaml:"in"`
	Type   string  `yaml:"type"`
	Schema *Schema `yaml:"schema"`
}

// Schema describes a JSON value.
type Schema struct {
	Ref        string             `yaml:"$ref"`
	Type       string             `yaml:"type"`
	Properties map[string]*Schema `yaml:"properties"`
	Items      *Schema            `yaml:"items"`
	Enum       []any              `yaml:"enum"`
	AllOf      []*Schema          `yaml:"allOf"`
	Example    any                `yaml:"example"`
}

// Read reads moby's swagger from the module that the types come from.
func Read() ([]*Operation, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api")
	cmd.Dir = harness.Top()
	dir, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("find moby's API module: %w", err)
	}
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "swagger.yaml"))
	if err != nil {
		return nil, err
	}
	var d document
	if err := yaml.Unmarshal(content, &d); err != nil {
		return nil, err
	}
	return d.operations(), nil
}

func (d *document) operations() []*Operation {
	var all []*Operation
	for path, methods := range d.Paths {
		for method, o := range methods {
			o.Method, o.Path = strings.ToUpper(method), path
			for i := range o.Parameters {
				o.Parameters[i].Schema = d.resolve(o.Parameters[i].Schema, 0)
			}
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b *Operation) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// resolve follows references and joins allOf, so far as request bodies need it.
func (d *document) resolve(s *Schema, depth int) *Schema {
	if s == nil || depth > 8 {
		return s
	}
	if s.Ref != "" {
		return d.resolve(d.Definitions[strings.TrimPrefix(s.Ref, "#/definitions/")], depth+1)
	}
	joined := &Schema{Type: s.Type, Example: s.Example, Enum: s.Enum, Properties: map[string]*Schema{}}
	joined.Items = d.resolve(s.Items, depth+1)
	for _, part := range s.AllOf {
		r := d.resolve(part, depth+1)
		maps.Copy(joined.Properties, r.Properties)
		joined.Type = "object"
	}
	for name, property := range s.Properties {
		joined.Properties[name] = d.resolve(property, depth+1)
	}
	return joined
}

func (o *Operation) String() string { return o.Method + " " + o.Path }

// body is the parameter that is the body, or nil.
func (o *Operation) body() *Parameter {
	for i := range o.Parameters {
		if o.Parameters[i].In == "body" {
			return &o.Parameters[i]
		}
	}
	return nil
}
