// Package validate proves that a decoded config.json makes sense before anything
// is done with it: what runtime-spec 1.3 demands of a Linux container, and what
// runc 1.3 refuses beyond that. It finds all problems at once, each with its JSON
// path and the section of the spec that sets the rule.
//
// The package is pure: the same answer on every OS for the same spec and facts.
// What only the machine can tell (whether a namespace file is one, whether a source
// is a procfs) is left to launch, and the profile of linux.seccomp, which bundle
// keeps undecoded, to the seccomp compiler.
package validate

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// Problem is one rule that the config breaks.
type Problem struct {
	Path string // JSON path in config.json: mounts[3].destination
	Rule string // what is wrong with what was found, and what is asked
	Ref  string // section of the runtime-spec: config.md#mounts
}

// String is "path: rule", or the rule alone when the problem is the document itself.
func (p Problem) String() string {
	if p.Path == "" {
		return p.Rule
	}
	return p.Path + ": " + p.Rule
}

// Error carries all problems of a config that is refused.
type Error struct {
	Problems []Problem
}

// Error joins the problems with "; ", so that it stays one line.
func (e *Error) Error() string {
	var b []byte
	for i, p := range e.Problems {
		if i > 0 {
			b = append(b, "; "...)
		}
		b = append(b, p.String()...)
	}
	return string(b)
}

// checker collects the problems of one spec.
type checker struct {
	facts    *host.Facts
	linux    *specs.Linux // never nil
	ns       namespaceSet
	problems []Problem
}

// add notes a problem; an empty rule is none, so that checks can be written as
// c.add(path, ref, ruleOf(value)). Where the path costs, it is built only on need.
func (c *checker) add(path, ref, rule string) {
	if rule != "" {
		c.problems = append(c.problems, Problem{Path: path, Rule: rule, Ref: ref})
	}
}

// addAt is add for the field of an element of a list.
func (c *checker) addAt(list string, i int, field, ref, rule string) {
	if rule != "" {
		c.add(element(list, i)+field, ref, rule)
	}
}

// Spec checks a whole config.json on the machine that facts describes. The problems
// come in the order of the fields of [specs.Spec], and those of a map by key. None
// is a spec that package plan can compile, if it supports what is asked for.
func Spec(spec *specs.Spec, facts *host.Facts) []Problem {
	c := newChecker(spec, facts)
	c.add("ociVersion", refVersion, versionRule(spec.Version))
	c.process(spec.Process, "process")
	c.root(spec.Root)
	c.names(spec)
	c.mounts(spec.Mounts)
	c.hooks(spec.Hooks)
	if _, ok := spec.Annotations[""]; ok {
		c.add("annotations", refAnnotations, "has an empty key, keys must not be empty")
	}
	c.linuxSection()
	return c.problems
}

// Process checks a process object alone, as `runc exec --process` reads it. path is
// its JSON path for the problems, "" for a file that holds nothing else.
func Process(p *specs.Process, path string, facts *host.Facts) []Problem {
	c := &checker{facts: facts, linux: &specs.Linux{}}
	c.process(p, path)
	return c.problems
}

func newChecker(spec *specs.Spec, facts *host.Facts) *checker {
	c := &checker{facts: facts, linux: spec.Linux}
	if c.linux == nil {
		c.linux = &specs.Linux{}
	}
	c.ns = namespacesOf(c.linux.Namespaces)
	return c
}

func (c *checker) root(r *specs.Root) {
	if r == nil {
		c.add("root", refRoot, "must be specified")
		return
	}
	c.add("root.path", refRoot, textRule(r.Path))
}

// linuxSection checks the members of linux in the order of [specs.Linux].
func (c *checker) linuxSection() {
	l := c.linux
	c.userMappings()
	c.sysctls()
	if l.Resources != nil {
		c.resources(l.Resources)
	}
	c.cgroupsPath()
	c.namespaces()
	c.devices()
	c.netDevices()
	c.rootfsPropagation()
	c.hiddenPaths("linux.maskedPaths", refMaskedPaths, l.MaskedPaths)
	c.hiddenPaths("linux.readonlyPaths", refReadonlyPaths, l.ReadonlyPaths)
	c.add("linux.mountLabel", refMountLabel, mountLabelRule(l.MountLabel))
	if l.IntelRdt != nil {
		c.intelRdt(l.IntelRdt)
	}
	if l.MemoryPolicy != nil {
		c.memoryPolicy(l.MemoryPolicy)
	}
	if l.Personality != nil {
		c.personality(l.Personality)
	}
	c.timeOffsets()
}
