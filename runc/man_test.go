package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

//go:generate go test -tags urfave_cli_no_docs -run TestManPagesAreUpToDate . -update

const manDir = "../docs/man"

// manDate is when the pages last changed in what they say; that of the build would make
// them stale every day.
const manDate = "2026-11-26"

var update = flag.Bool("update", false, "rewrite the manual pages")

// TestManPagesAreUpToDate holds the manual pages to the flag tables; -update rewrites them.
func TestManPagesAreUpToDate(t *testing.T) {
	want := manPages()
	if *update {
		writePages(t, want)
	}
	got := make(map[string]string)
	files, err := filepath.Glob(manDir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.Base(file)] = string(text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/man/ is out of date, make generate (-want +got):\n%s", diff)
	}
}

func writePages(t *testing.T, pages map[string]string) {
	t.Helper()
	if err := os.RemoveAll(manDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(manDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(manDir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManPagesHaveNoFaults(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("mandoc is not installed")
	}
	files, err := filepath.Glob(manDir + "/*.8")
	if err != nil || len(files) < 14 {
		t.Fatalf("%d pages: %v", len(files), err)
	}
	if out, err := exec.Command(mandoc, append([]string{"-Tlint", "-Wwarning"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// manPages are the pages of the program and of every command that is not hidden, by their
// files' names.
func manPages() map[string]string {
	p := new(program)
	app := p.app("")
	pages := make(map[string]string)
	var also, list strings.Builder
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		pages["runc-"+c.Name+".8"] = commandPage(c)
		fmt.Fprintf(&list, ".TP\n.B %s\n%s\n", roff(c.Name), roff(upperFirst(c.Usage)+"."))
		if also.Len() > 0 {
			also.WriteString(",\n")
		}
		fmt.Fprintf(&also, ".BR runc\\-%s (8)", roff(c.Name))
	}
	pages["runc.8"] = head("runc", app.Usage) +
		".SH SYNOPSIS\n.B runc\n.RI [ global\\~options ]\n.I command\n.RI [ options ]\n.RI [ arguments ]\n" +
		".SH DESCRIPTION\n" + paragraphs(app.Description) +
		".SH COMMANDS\n" + list.String() +
		".SH GLOBAL OPTIONS\n" + options(append(globalFlags(), cli.HelpFlag, cli.VersionFlag)) +
		".SH EXIT STATUS\n" + paragraphs(exitStatus) +
		".SH SEE ALSO\n" + also.String() + "\n"
	return pages
}

const exitStatus = `0 is success, 1 an error, 3 an unknown command. run and exec without --detach
pass on the program's own exit status, or 128 plus the number of the signal that ended it; an
exec that fails by itself ends with 255, plan --diff with 2.`

func commandPage(c *cli.Command) string {
	var b strings.Builder
	b.WriteString(head("runc-"+c.Name, c.Usage))
	b.WriteString(".SH SYNOPSIS\n")
	for i, form := range strings.Split(c.ArgsUsage, "  |  ") {
		if i > 0 {
			b.WriteString(".br\n")
		}
		fmt.Fprintf(&b, ".B runc %s\n.RI [ options ]\n", roff(c.Name))
		if form = strings.TrimSpace(form); form != "" {
			b.WriteString(roff(form) + "\n")
		}
	}
	b.WriteString(".SH DESCRIPTION\n" + roff(upperFirst(c.Usage)+".") + "\n")
	if c.Description != "" {
		b.WriteString(".PP\n" + paragraphs(c.Description))
	}
	b.WriteString(".SH OPTIONS\n" + options(append(c.Flags, cli.HelpFlag)))
	b.WriteString(".SH SEE ALSO\n.BR runc (8)\n")
	return b.String()
}

// head is the title and the NAME section, which apropos(1) reads.
func head(name, usage string) string {
	return `.\" Generated from the flag tables of the command line: make generate.` + "\n" +
		fmt.Sprintf(".TH %s 8 %s runc \"Container runtime\"\n.SH NAME\n%s \\- %s\n", roff(strings.ToUpper(name)), manDate, roff(name), roff(usage))
}

func options(flags []cli.Flag) string {
	var b strings.Builder
	for _, f := range flags {
		doc, ok := f.(cli.DocGenerationFlag)
		if visible, can := f.(cli.VisibleFlag); !ok || can && !visible.IsVisible() {
			continue
		}
		usage, value := doc.GetUsage(), ""
		if _, rest, ok := strings.Cut(usage, "`"); ok && doc.TakesValue() {
			value, _, _ = strings.Cut(rest, "`")
			if strings.ToLower(value) == value {
				value = "WORD"
			}
		}
		var names []string
		for _, name := range f.Names() {
			dashes := "--"
			if len(name) == 1 {
				dashes = "-"
			}
			names = append(names, `\fB`+roff(dashes+name)+`\fR`)
		}
		fmt.Fprintf(&b, ".TP\n%s", strings.Join(names, ", "))
		if value != "" {
			b.WriteString(` \fI` + roff(value) + `\fR`)
		}
		text := strings.ReplaceAll(usage, "`", "")
		if value != "WORD" {
			text = upperFirst(text) // words to type are as they are typed
		}
		if d := doc.GetDefaultText(); d != "" && doc.TakesValue() {
			text += " (default: " + strings.Trim(d, `"`) + ")"
		}
		b.WriteString("\n" + roff(text+".") + "\n")
	}
	return b.String()
}

// paragraphs formats a text: an empty line begins a new paragraph, and indented lines
// stay as they are.
func paragraphs(text string) string {
	var b strings.Builder
	for i, p := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		indented := strings.HasPrefix(p, "   ")
		if indented {
			b.WriteString(".nf\n")
		}
		for line := range strings.SplitSeq(p, "\n") {
			b.WriteString(roff(strings.TrimPrefix(line, "   ")) + "\n")
		}
		if indented {
			b.WriteString(".fi\n")
		}
	}
	return b.String()
}

// roff keeps a text from meaning anything to troff, groff_char(7): a hyphen that is typed
// is \-, and a line must not begin with a dot or a quote.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
