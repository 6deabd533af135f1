package main

import (
	"fmt"
	"go/types"
	"strings"
)

// encoder writes the function that appends one struct.
func (g *generator) encoder(t *types.Named) error {
	name := g.add(&g.encoders, t)
	fields, err := fieldsOf(t.Underlying().(*types.Struct))
	if err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	g.printf("\nfunc append%s(b []byte, v *%s) []byte {\nb = append(b, '{')\n", name, g.typeName(t))
	for _, f := range fields {
		write, err := "b = jsonread.AppendRaw(b, &v."+f.goName+")", error(nil)
		if !f.raw {
			write, err = g.write("&v."+f.goName, f.typ)
		}
		if err != nil {
			return fmt.Errorf("%s.%s: %w", t, f.goName, err)
		}
		code := fmt.Sprintf("b = jsonread.AppendKey(b, %q)\n%s\n", f.key, write)
		if condition := g.filled(f); condition != "" {
			code = "if " + condition + " {\n" + code + "}\n"
		}
		g.printf("%s", code)
	}
	g.printf("return append(b, '}')\n}\n")
	return nil
}

// filled is the condition under which a field is written, empty for always.
func (g *generator) filled(f field) string {
	var conditions []string
	value := "v." + f.goName
	switch u := f.typ.Underlying().(type) {
	case *types.Basic:
		if f.omitEmpty || f.omitZero {
			conditions = append(conditions, basicFilled(value, u))
		}
	case *types.Pointer:
		if f.omitEmpty || f.omitZero {
			conditions = append(conditions, value+" != nil")
		}
	case *types.Slice, *types.Map:
		if f.omitZero {
			conditions = append(conditions, value+" != nil")
		}
		if f.omitEmpty {
			conditions = append(conditions, "len("+value+") > 0")
		}
	case *types.Struct:
		if object, _, _ := types.LookupFieldOrMethod(f.typ, true, nil, "IsZero"); f.omitZero && object != nil {
			conditions = append(conditions, "!"+value+".IsZero()")
		} else if f.omitZero {
			conditions = append(conditions, value+" != ("+g.typeName(f.typ)+"{})")
		}
	}
	return strings.Join(conditions, " && ")
}

func basicFilled(value string, b *types.Basic) string {
	switch {
	case b.Info()&types.IsBoolean != 0:
		return value
	case b.Info()&types.IsString != 0:
		return value + ` != ""`
	}
	return value + " != 0"
}

// write is the statement that appends the value at an address.
func (g *generator) write(from string, t types.Type) (string, error) {
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
		return fmt.Sprintf("b = %s(b, %s)", g.structWriter(t), from), nil
	default:
		return fmt.Sprintf("b = jsonread.Append%s(b, %s)", scalar(k), from), nil
	}
	inner, err := g.writer(elem)
	return fmt.Sprintf("b = jsonread.Append%s(b, %s, %s)", call, from, inner), err
}

// writer is a function expression: func([]byte, *t) []byte.
func (g *generator) writer(t types.Type) (string, error) {
	k, err := kindOf(t)
	if err != nil {
		return "", err
	}
	switch k {
	case kindStruct:
		return g.structWriter(t), nil
	case kindPointer, kindSlice, kindMap:
		body, err := g.write("v", t)
		return fmt.Sprintf("func(b []byte, v *%s) []byte {\n%s\nreturn b\n}", g.typeName(t), body), err
	default:
		return "jsonread.Append" + scalar(k), nil
	}
}

func (g *generator) structWriter(t types.Type) string {
	return "append" + g.add(&g.encoders, types.Unalias(t).(*types.Named))
}
