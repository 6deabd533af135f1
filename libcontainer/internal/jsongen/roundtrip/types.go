// Package roundtrip holds one type with every kind of field that jsongen knows,
// and the code generated for it, for its tests.
package roundtrip

import (
	"encoding/json"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

//go:generate go run .. -out json_gen.go -decode Everything,Tagged,github.com/opencontainers/runtime-spec/specs-go.State -encode Everything,Tagged,github.com/opencontainers/runtime-spec/specs-go.ContainerProcessState

type (
	text   string
	flag   bool
	number int16
	names  []text
	table  map[text]number
	blob   []byte
)

// inner is embedded, contained, and pointed to.
type inner struct {
	Major int64  `json:"major"`
	Minor uint64 `json:"minor,omitempty"`
}

// State has the name of a type of package specs.
type State struct {
	Self *State `json:"self,omitempty"`
	ID   string `json:"id"`
}

// Everything has a field of each kind, and what combines them.
type Everything struct {
	inner

	Untagged   string
	Renamed    text              `json:"re-named"`
	Hidden     string            `json:"-"`
	unexported int               // must be left alone
	Bool       bool              `json:"bool"`
	Flag       flag              `json:"flag,omitempty"`
	Int8       int8              `json:"int8"`
	Int        int               `json:"int,omitempty"`
	Number     number            `json:"number,omitzero"`
	Uint16     uint16            `json:"uint16,omitempty"`
	Uint64     uint64            `json:"uint64"`
	Mode       os.FileMode       `json:"mode"`
	ModePtr    *os.FileMode      `json:"modePtr,omitempty"`
	BoolPtr    *bool             `json:"boolPtr,omitempty"`
	IntPtr     *int64            `json:"intPtr"`
	PtrPtr     **string          `json:"ptrPtr,omitempty"`
	Time       time.Time         `json:"time"`
	TimeZero   time.Time         `json:"timeZero,omitzero"`
	TimePtr    *time.Time        `json:"timePtr,omitempty"`
	Raw        json.RawMessage   `json:"raw,omitempty"`
	RawNil     json.RawMessage   `json:"rawNil"`
	Strings    []string          `json:"strings"`
	Omitted    []string          `json:"omitted,omitempty"`
	NilZero    []string          `json:"nilZero,omitzero"`
	Names      names             `json:"names,omitempty"`
	Lists      [][]int           `json:"lists,omitempty"`
	Pointers   []*inner          `json:"pointers,omitempty"`
	Map        map[string]string `json:"map"`
	MapOmitted map[string]string `json:"mapOmitted,omitempty"`
	Table      table             `json:"table,omitempty"`
	MapOfLists map[string][]text `json:"mapOfLists,omitempty"`
	MapOfPtrs  map[string]*inner `json:"mapOfPtrs,omitempty"`
	Struct     inner             `json:"struct"`
	StructZero inner             `json:"structZero,omitzero"`
	StructPtr  *inner            `json:"structPtr,omitempty"`
	Mine       State             `json:"mine"`
	Theirs     *specs.State      `json:"theirs,omitempty"`
}

// Tagged has JSON in a plain []byte, which encoding/json can't do.
type Tagged struct {
	Config blob `json:"config" jsongen:"raw"`
}
