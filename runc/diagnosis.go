package main

import "github.com/gantry-containers/gantry/libcontainer"

// appendDiagnosis appends what is known of a failure as further members of a JSON object.
func appendDiagnosis(b []byte, d libcontainer.Diagnosis) []byte {
	member := func(key, value string) {
		if value != "" {
			b = appendJSON(append(appendJSON(append(b, ','), key), ':'), value)
		}
	}
	member("code", string(d.Code))
	member("field", d.Field)
	member("syscall", d.Syscall)
	member("errno", d.Errno)
	if len(d.Problems) == 0 {
		return b
	}
	b = append(b, `,"problems":[`...)
	for i, p := range d.Problems {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(append(b, `{"field":`...), p.Field)
		b = append(appendJSON(append(b, `,"msg":`...), p.Text), '}')
	}
	return append(b, ']')
}
