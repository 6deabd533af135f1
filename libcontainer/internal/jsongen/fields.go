package main

import (
	"fmt"
	"go/types"
	"reflect"
	"strings"
)

// field is a struct field as encoding/json sees it.
type field struct {
	goName    string // also of a field that an embedded struct brings
	key       string
	typ       types.Type
	omitEmpty bool
	omitZero  bool
	raw       bool // []byte that is JSON itself
}

// fieldsOf lists the fields of a struct, those of embedded structs in their place.
func fieldsOf(s *types.Struct) ([]field, error) {
	var list []field
	for i := range s.NumFields() {
		v := s.Field(i)
		tag := reflect.StructTag(s.Tag(i))
		json, tagged := tag.Lookup("json")
		if json == "-" {
			continue
		}
		name, options, _ := strings.Cut(json, ",")
		if v.Embedded() && name == "" {
			inner, ok := v.Type().Underlying().(*types.Struct)
			if !ok {
				return nil, fmt.Errorf("embedded %s is not a struct", v.Name())
			}
			fields, err := fieldsOf(inner)
			if err != nil {
				return nil, err
			}
			list = append(list, fields...)
			continue
		}
		if !v.Exported() {
			if tagged {
				return nil, fmt.Errorf("field %s has a json tag but is not exported", v.Name())
			}
			continue
		}
		f := field{goName: v.Name(), key: name, typ: v.Type(), raw: tag.Get("jsongen") == "raw"}
		if name == "" {
			f.key = v.Name()
		}
		if err := f.setOptions(options); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, checkKeys(list)
}

func (f *field) setOptions(options string) error {
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "":
		case "omitempty":
			f.omitEmpty = true
		case "omitzero":
			f.omitZero = true
		default:
			return fmt.Errorf("field %s: json option %q is not supported", f.goName, option)
		}
	}
	return nil
}

// checkKeys refuses what would need encoding/json's rules for ambiguous names and
// keys that would need escapes.
func checkKeys(list []field) error {
	seen := map[string]bool{}
	for _, f := range list {
		if seen[f.key] {
			return fmt.Errorf("two fields have the key %q", f.key)
		}
		seen[f.key] = true
		if strings.ContainsFunc(f.key, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
			return fmt.Errorf("key %q needs escapes", f.key)
		}
	}
	return nil
}

// kind sorts types by the jsonread function that handles them.
type kind int

const (
	kindString kind = iota
	kindBool
	kindInt
	kindUint
	kindTime
	kindRaw
	kindStruct
	kindPointer
	kindSlice
	kindMap
)

// kindOf says how a type is read and written.
func kindOf(t types.Type) (kind, error) {
	switch types.TypeString(types.Unalias(t), nil) {
	case "time.Time":
		return kindTime, nil
	case "encoding/json.RawMessage":
		return kindRaw, nil
	}
	if err := checkMethods(t); err != nil {
		return 0, err
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return basicKind(u)
	case *types.Struct:
		if _, ok := types.Unalias(t).(*types.Named); ok {
			return kindStruct, nil
		}
	case *types.Pointer:
		return kindPointer, nil
	case *types.Slice:
		if b, ok := u.Elem().Underlying().(*types.Basic); !ok || b.Kind() != types.Byte {
			return kindSlice, nil
		}
	case *types.Map:
		if b, ok := u.Key().Underlying().(*types.Basic); ok && b.Info()&types.IsString != 0 {
			return kindMap, nil
		}
	}
	return 0, fmt.Errorf("type %s is not supported", t)
}

// checkMethods refuses a defined type that brings its own JSON.
func checkMethods(t types.Type) error {
	if _, ok := types.Unalias(t).(*types.Named); !ok {
		return nil
	}
	for _, method := range []string{"MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText"} {
		if object, _, _ := types.LookupFieldOrMethod(t, true, nil, method); object != nil {
			return fmt.Errorf("type %s has a method %s", t, method)
		}
	}
	return nil
}

func basicKind(b *types.Basic) (kind, error) {
	switch {
	case b.Info()&types.IsString != 0:
		return kindString, nil
	case b.Info()&types.IsBoolean != 0:
		return kindBool, nil
	case b.Kind() == types.Uintptr, b.Info()&types.IsInteger == 0:
		return 0, fmt.Errorf("type %s is not supported", b)
	case b.Info()&types.IsUnsigned != 0:
		return kindUint, nil
	}
	return kindInt, nil
}
