package metrics

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// The types of families.
const (
	Counter = "counter"
	Gauge   = "gauge"
)

// Family is the samples of one name.
type Family struct {
	Name, Help, Type string
	Samples          []Sample
}

// Sample is a figure.
type Sample struct {
	Labels []Label
	Value  float64
}

// Label says of what.
type Label struct{ Name, Value string }

// Write writes the families that have samples.
func Write(to io.Writer, families ...Family) error {
	w := bufio.NewWriter(to)
	for _, f := range families {
		if len(f.Samples) == 0 {
			continue
		}
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.Name, help.Replace(f.Help), f.Name, f.Type)
		for _, s := range f.Samples {
			fmt.Fprintf(w, "%s%s %s\n", f.Name, spell(s.Labels), strconv.FormatFloat(s.Value, 'g', -1, 64))
		}
	}
	return w.Flush() // what went wrong before is told here, too
}

func spell(labels []Label) string {
	if len(labels) == 0 {
		return ""
	}
	parts := make([]string, len(labels))
	for i, l := range labels {
		parts[i] = l.Name + `="` + quoted.Replace(l.Value) + `"`
	}
	return "{" + strings.Join(parts, ",") + "}"
}

var (
	help   = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	quoted = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)
