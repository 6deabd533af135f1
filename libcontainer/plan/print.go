package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Redact hides the values of environment variables, which often are secrets.
func (p *Plan) Redact() {
	for i := range p.Ops {
		if a, ok := p.Ops[i].Do.(*Execute); ok {
			hidden := *a
			hidden.Env = make([]string, len(a.Env))
			for j, e := range a.Env {
				name, _, _ := strings.Cut(e, "=")
				hidden.Env[j] = name + "=***"
			}
			p.Ops[i].Do = &hidden
		}
	}
}

// WriteText prints the plan, one operation a line: number, actor, what, and the field
// that it comes from.
func (p *Plan) WriteText(w io.Writer) error {
	for i := range p.Ops {
		op := &p.Ops[i]
		if _, err := fmt.Fprintf(w, "%3d  %-7s  %s  [%s]\n", i+1, op.Actor, op.Do, op.Field); err != nil {
			return err
		}
		if a, ok := op.Do.(*Execute); ok {
			for _, e := range a.Env {
				if _, err := fmt.Fprintf(w, "                env %s\n", e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// WriteJSON prints the plan as an array of objects: actor, field, op (the operation's
// name), text (as WriteText has it) and args (the operation's own fields).
func (p *Plan) WriteJSON(w io.Writer) error {
	type line struct {
		Actor string `json:"actor"`
		Field string `json:"field"`
		Op    string `json:"op"`
		Text  string `json:"text"`
		Args  Action `json:"args"`
	}
	lines := make([]line, len(p.Ops))
	for i := range p.Ops {
		op := &p.Ops[i]
		lines[i] = line{op.Actor.String(), op.Field, name(op.Do), op.Do.String(), op.Do}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(lines)
}

// name is the operation's type, without its package.
func name(a Action) string {
	_, n, _ := strings.Cut(fmt.Sprintf("%T", a), ".")
	return n
}
