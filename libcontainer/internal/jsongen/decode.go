package main

import (
	"fmt"
	"go/types"
	"slices"
	"strings"
)

// decoder writes the function that reads one struct.
func (g *generator) decoder(t *types.Named) error {
	name := g.add(&g.decoders, t)
	fields, err := fieldsOf(t.Underlying().(*types.Struct))
	if err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	g.printf("\nfunc decode%s(r *jsonread.Reader, v *%s) {\n", name, g.typeName(t))
	for _, f := range fields {
		if slices.Contains(g.keep, t.Obj().Name()+"."+f.goName) {
			g.printf("r.Kept = nil\n")
		}
	}
	g.printf("for key, ok := r.Object(); ok; key, ok = r.Member() {\nswitch key {\n")
	for _, f := range fields {
		read, err := g.readField(t.Obj().Name()+"."+f.goName, f)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", t, f.goName, err)
		}
		g.printf("case %q:\n%s\n", f.key, read)
	}
	g.printf("default:\nr.Skip()\n}\n}\n}\n")
	return nil
}

// readField is the statement for one field.
func (g *generator) readField(name string, f field) (string, error) {
	if slices.Contains(g.keep, name) {
		g.used[name] = true
		return "r.KeepObject()", nil
	}
	if slices.Contains(g.present, name) {
		g.used[name] = true
		p, ok := f.typ.Underlying().(*types.Pointer)
		if !ok {
			return "", fmt.Errorf("%s is not a pointer", f.typ)
		}
		return fmt.Sprintf("v.%s = nil\nif r.SkipObject() {\nv.%[1]s = new(%s)\n}", f.goName, g.typeName(p.Elem())), nil
	}
	if f.raw {
		return "jsonread.Raw(r, &v." + f.goName + ")", nil
	}
	return g.read("&v."+f.goName, f.typ)
}

// read is the statement that reads a value of type t to an address.
func (g *generator) read(to string, t types.Type) (string, error) {
	k, err := kindOf(t)
	if err != nil {
		return "", err
	}
	call, elem := "", types.Type(nil)
	switch k {
	case kindPointer:
		call, elem = "Pointer", t.Underlying().(*types.Pointer).Elem()
	case kindSlice:
		call, elem = "Slice", t.Underlying().(*types.Slice).Elem()
	case kindMap:
		call, elem = "Map", t.Underlying().(*types.Map).Elem()
	case kindStruct:
		value, isField := strings.CutPrefix(to, "&")
		if !isField {
			value = "*" + to
		}
		return fmt.Sprintf("%s = %s{}\n%s(r, %s)", value, g.typeName(t), g.structReader(t), to), nil
	default:
		return fmt.Sprintf("jsonread.%s(r, %s)", scalar(k), to), nil
	}
	inner, err := g.reader(elem)
	return fmt.Sprintf("jsonread.%s(r, %s, %s)", call, to, inner), err
}

// reader is a function expression: func(*jsonread.Reader, *t), called with a zero t.
func (g *generator) reader(t types.Type) (string, error) {
	k, err := kindOf(t)
	if err != nil {
		return "", err
	}
	switch k {
	case kindStruct:
		return g.structReader(t), nil
	case kindPointer, kindSlice, kindMap:
		body, err := g.read("v", t)
		return fmt.Sprintf("func(r *jsonread.Reader, v *%s) {\n%s\n}", g.typeName(t), body), err
	default:
		return "jsonread." + scalar(k), nil
	}
}

func (g *generator) structReader(t types.Type) string {
	return "decode" + g.add(&g.decoders, types.Unalias(t).(*types.Named))
}

// scalar is the name of the functions in jsonread for values that are not composed.
func scalar(k kind) string {
	switch k {
	case kindString:
		return "String"
	case kindBool:
		return "Bool"
	case kindInt:
		return "Int"
	case kindUint:
		return "Uint"
	case kindTime:
		return "Time"
	default:
		return "Raw"
	}
}
