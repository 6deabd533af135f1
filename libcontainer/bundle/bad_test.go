package bundle

import (
	"errors"
	"strings"
	"testing"
)

func TestBadConfigs(t *testing.T) {
	tests := map[string]struct{ config, want string }{
		"a number for a string":             {`{"mounts":[{},{},{},{"destination":7}]}`, "mounts[3].destination: want a string, got a number"},
		"a string for an array":             {`{"process":{"args":"sh"}}`, "process.args: want an array, got a string"},
		"an object for an array":            {`{"mounts":{}}`, "mounts: want an array, got an object"},
		"an array for an object":            {`{"root":[]}`, "root: want an object, got an array"},
		"an array for a map":                {`{"annotations":[]}`, "annotations: want an object, got an array"},
		"a boolean for a number":            {`{"process":{"user":{"uid":true}}}`, "process.user.uid: want a number, got a boolean"},
		"a string for a boolean":            {`{"root":{"readonly":"false"}}`, "root.readonly: want a boolean, got a string"},
		"a number for a section":            {`{"windows":1}`, "windows: want an object, got a number"},
		"a string for a seccomp profile":    {`{"linux":{"seccomp":"unconfined"}}`, "linux.seccomp: want an object, got a string"},
		"a wrong element of an array":       {`{"process":{"env":["a",1]}}`, "process.env[1]: want a string, got a number"},
		"a wrong value in a map":            {`{"linux":{"sysctl":{"net.ipv4.ip_forward":1}}}`, `linux.sysctl["net.ipv4.ip_forward"]: want a string, got a number`},
		"a wrong field below a map":         {`{"linux":{"timeOffsets":{"boottime":{"nanosecs":-1}}}}`, "linux.timeOffsets.boottime.nanosecs: want a number from 0 to 4294967295, got -1"},
		"a number too big for 32 bits":      {`{"process":{"user":{"uid":4294967296}}}`, "process.user.uid: want a number from 0 to 4294967295, got 4294967296"},
		"a number too big for 16 bits":      {`{"linux":{"resources":{"blockIO":{"weight":65536}}}}`, "linux.resources.blockIO.weight: want a number from 0 to 65535, got 65536"},
		"a number too big for 64 bits":      {`{"linux":{"resources":{"pids":{"limit":9223372036854775808}}}}`, "linux.resources.pids.limit: want a number from -9223372036854775808 to 9223372036854775807, got 9223372036854775808"},
		"a number too small for 32 bits":    {`{"process":{"scheduler":{"nice":-2147483649}}}`, "process.scheduler.nice: want a number from -2147483648 to 2147483647, got -2147483649"},
		"a negative size":                   {`{"process":{"consoleSize":{"height":-1}}}`, "process.consoleSize.height: want a number from 0 to 18446744073709551615, got -1"},
		"a fraction":                        {`{"process":{"oomScoreAdj":1.5}}`, "process.oomScoreAdj: want a whole number without exponent, got 1.5"},
		"an exponent":                       {`{"process":{"oomScoreAdj":1e2}}`, "process.oomScoreAdj: want a whole number without exponent, got 1e2"},
		"a number of 100 digits":            {`{"process":{"oomScoreAdj":` + strings.Repeat("1", 100) + `}}`, "process.oomScoreAdj: want a number from -9223372036854775808 to 9223372036854775807, got " + strings.Repeat("1", 64) + "…"},
		"a NUL in a string":                 {`{"process":{"args":["a","b\u0000c"]}}`, "process.args[1]: contains a NUL character"},
		"a NUL in a map key":                {`{"linux":{"sysctl":{"a\u0000":"1"}}}`, `linux.sysctl["a\x00"]: key contains a NUL character`},
		"a NUL and a wrong type at one key": {`{"annotations":{"a\u0000":1}}`, `annotations["a\x00"]: key contains a NUL character; annotations["a\x00"]: want a string, got a number`},
		"two wrong values":                  {`{"hostname":[{"a":"]"}],"x":[1,{}],"root":{"path":{}}}`, "hostname: want a string, got an array; root.path: want a string, got an object"},
		"a document that is an array":       {`[]`, "want an object, got an array"},
		"a document that is null":           {` null `, "want an object, got null"},
		"a document that is a string":       {`"x"`, "want an object, got a string"},

		"a syntax error outranks wrong values": {`{"hostname":1,}`, `line 1, column 15: want a key in double quotes, got '}'`},
		"a byte order mark":                    {"\xEF\xBB\xBF{}", "line 1, column 1: byte order mark before the JSON text"},
		"UTF-16":                               {"\xFF\xFE{\x00}\x00", "line 1, column 1: want a JSON value, got byte 0xff"},
		"text after the document":              {"{}\n\n x", `line 3, column 2: unexpected 'x' after the end of the JSON value`},
		"a second document":                    {"{} {}", `line 1, column 4: unexpected '{' after the end of the JSON value`},
		"a NUL after the document":             {"{}\x00", `line 1, column 3: unexpected '\x00' after the end of the JSON value`},
		"a comma before the end of an object":  {"{\n\t\"a\": 1,\n}", `line 3, column 1: want a key in double quotes, got '}'`},
		"a comma before the end of an array":   {`{"mounts":[{},]}`, `line 1, column 15: want a JSON value, got ']'`},
		"no comma between members":             {`{"a":1 "b":2}`, `line 1, column 8: want ',' or '}' after an object member, got '"'`},
		"no comma between elements":            {`{"mounts":[{} {}]}`, `line 1, column 15: want ',' or ']' after an array element, got '{'`},
		"no colon":                             {`{"hostname" "b"}`, `line 1, column 13: want ':' after an object key, got '"'`},
		"no colon in an unknown section":       {`{"x":{"ü" 1}}`, `line 1, column 11: want ':' after an object key, got '1'`},
		"a key without quotes":                 {`{hostname:1}`, `line 1, column 2: want a key in double quotes, got 'h'`},
		"a comment":                            {`{} // mine`, `line 1, column 4: unexpected '/' after the end of the JSON value`},
		"a literal that is not one":            {`{"root":{"readonly":True}}`, `line 1, column 21: want a JSON value, got 'T'`},
		"a literal that goes wrong":            {`{"root":nul1}`, `line 1, column 12: want null, got '1'`},
		"a leading zero":                       {`{"process":{"oomScoreAdj":01}}`, `line 1, column 28: want ',' or '}' after an object member, got '1'`},
		"a leading plus":                       {`{"process":{"oomScoreAdj":+1}}`, `line 1, column 27: want a JSON value, got '+'`},
		"a number without digits":              {`{"process":{"oomScoreAdj":-}}`, `line 1, column 28: want a digit, got '}'`},
		"an unknown escape":                    {`{"hostname":"\x41"}`, `line 1, column 15: unknown escape 'x' in a string`},
		"an escape without digits":             {`{"hostname":"\u12G4"}`, `line 1, column 18: want four hexadecimal digits after \u, got 'G'`},
		"a line feed in a string":              {"{\"hostname\":\"a\nb\"}", `line 1, column 15: control character '\n' in a string, must be escaped`},
		"an array closed as an object":         {`{"mounts":[{}}`, `line 1, column 14: want ',' or ']' after an array element, got '}'`},

		"nothing":                   {``, "unexpected end of JSON at byte 0"},
		"only white space":          {" \n", "unexpected end of JSON at byte 2"},
		"half an object":            {`{"root":{"path":"a"}`, "unexpected end of JSON at byte 20"},
		"half a string":             {`{"root":{"path":"a`, "unexpected end of JSON at byte 18"},
		"half an escape":            {`{"root":{"path":"a\u12`, "unexpected end of JSON at byte 22"},
		"half a literal":            {`{"root":nul`, "unexpected end of JSON at byte 11"},
		"half an unknown section":   {`{"x":[[{"y":`, "unexpected end of JSON at byte 12"},
		"half a number":             {`{"x":1e`, "unexpected end of JSON at byte 7"},
		"1,001 arrays in a field":   {`{"mounts":` + strings.Repeat("[", 2000), "line 1, column 1010: nested deeper than 1000 levels"},
		"a million unknown objects": {strings.Repeat(`{"x":`, 1e6), "line 1, column 5001: nested deeper than 1000 levels"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			spec, seccomp, err := Decode([]byte(test.config))
			wantError(t, err, test.want)
			if spec != nil || seccomp != nil {
				t.Error("a result beside the error")
			}
			var syntax *SyntaxError
			var field *FieldError
			if errors.As(err, &syntax) == errors.As(err, &field) {
				t.Errorf("%T is neither of the documented types, or both", err)
			}
		})
	}
}

func TestDepthLimitIsExact(t *testing.T) {
	nested := func(n int) []byte {
		return []byte(`{"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`)
	}
	if _, _, err := Decode(nested(1000)); err != nil {
		t.Error(err)
	}
	if _, _, err := Decode(nested(1001)); err == nil {
		t.Error("1001 levels accepted")
	}
	siblings := `{"x":[` + strings.Repeat("[{}],", 2000) + `1],"mounts":[` + strings.Repeat("{},", 2000) + `{}]}`
	if _, _, err := Decode([]byte(siblings)); err != nil {
		t.Errorf("values side by side: %v", err)
	}
}

func TestManyWrongValuesAreCutOff(t *testing.T) {
	_, _, err := Decode([]byte(`{"mounts":[` + strings.Repeat("1,", 1e5) + `1]}`))
	var list FieldErrors
	if !errors.As(err, &list) || len(list) != 100 {
		t.Fatalf("%d errors", len(list))
	}
	if list[99].Path != "mounts[99]" {
		t.Errorf("last is %s", list[99].Path)
	}
}
