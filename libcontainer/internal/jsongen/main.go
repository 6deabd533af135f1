// Command jsongen writes JSON decoders and encoders for Go types, built from the
// functions of package jsonread: what encoding/json would find out by reflection
// at run time is found out here, from the types themselves.
//
// It is run by go generate in the folder that gets the code:
//
//	//go:generate go run ../internal/jsongen -out json_gen.go -decode State -encode State,example.com/spec.Hook
//
// For each type T that is asked for, and each struct it contains, it writes
//
//	func decodeT(r *jsonread.Reader, v *T)
//	func appendT(b []byte, v *T) []byte
//
// Fields are named and left out (omitempty, omitzero) as encoding/json does it;
// []byte must be json.RawMessage or tagged `jsongen:"raw"`. What it does not know
// (interfaces, floats, own MarshalJSON methods) is an error, never left out.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
)

// config is the command line.
type config struct {
	out     string
	check   bool
	decode  []string
	encode  []string
	keep    []string
	present []string
}

func main() {
	c := parseFlags()
	source, err := generate(".", c)
	if err == nil {
		err = c.deliver(source)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "jsongen:", err)
		os.Exit(1)
	}
}

func parseFlags() *config {
	c := &config{}
	list := func(name, usage string, to *[]string) {
		flag.Func(name, usage, func(s string) error {
			*to = append(*to, strings.Split(s, ",")...)
			return nil
		})
	}
	flag.StringVar(&c.out, "out", "json_gen.go", "`file` to write")
	flag.BoolVar(&c.check, "check", false, "write nothing, fail if the file is not up to date")
	list("decode", "`types` to decode: names, or import/path.Name", &c.decode)
	list("encode", "`types` to encode", &c.encode)
	list("keep", "`fields` (Struct.Field) that decoding leaves in Reader.Kept as JSON", &c.keep)
	list("present", "`fields` (Struct.Field) of which decoding only says that they are there", &c.present)
	flag.Parse()
	return c
}

// deliver writes the generated file, or compares it with the one that is there.
func (c *config) deliver(source []byte) error {
	if !c.check {
		return os.WriteFile(c.out, source, 0o644)
	}
	old, err := os.ReadFile(c.out)
	if err != nil {
		return err
	}
	if !bytes.Equal(old, source) {
		return fmt.Errorf("%s is not up to date, run go generate", c.out)
	}
	return nil
}

// generate returns the source of the file for the package in dir.
func generate(dir string, c *config) ([]byte, error) {
	pkg, err := load(dir, c.out, slices.Concat(c.decode, c.encode))
	if err != nil {
		return nil, err
	}
	g := newGenerator(pkg, c)
	for _, name := range c.decode {
		if err := g.want(&g.decoders, name); err != nil {
			return nil, err
		}
	}
	for _, name := range c.encode {
		if err := g.want(&g.encoders, name); err != nil {
			return nil, err
		}
	}
	return g.source()
}
