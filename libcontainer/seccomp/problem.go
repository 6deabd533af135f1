package seccomp

import "strings"

// Problem is one fault of a profile.
type Problem struct {
	Field string // JSON path, from linux.seccomp on; "" when the text names it
	Text  string
}

// String is "field: text".
func (p Problem) String() string {
	if p.Field == "" {
		return p.Text
	}
	return p.Field + ": " + p.Text
}

// ProfileError is a fault in the profile, as opposed to one of this machine.
type ProfileError struct{ Problems []Problem }

// Error joins the problems with "; ", so that it stays one line.
func (e *ProfileError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "; ")
}

// fieldEnd stands between a field and its problem in the compiler's answer, where a
// problem is a line.
const fieldEnd = "\t"

// AppendProblems appends the problems in the form in which the compiler reports them.
func AppendProblems(b []byte, problems []Problem) []byte {
	for _, p := range problems {
		text := strings.ReplaceAll(p.Text, "\n", " ")
		b = append(append(append(append(b, p.Field...), fieldEnd...), text...), '\n')
	}
	return b
}

// parseProblems reads what AppendProblems wrote, or a line that is no more than a text.
func parseProblems(message string) *ProfileError {
	e := &ProfileError{}
	for line := range strings.SplitSeq(message, "\n") {
		field, text, ok := strings.Cut(line, fieldEnd)
		if !ok {
			field, text = "", line
		}
		e.Problems = append(e.Problems, Problem{field, text})
	}
	return e
}
