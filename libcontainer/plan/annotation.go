package plan

import (
	"slices"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
)

// propertyPrefix begins an annotation that sets a property of the container's unit.
const propertyPrefix = "org.systemd.property."

// groupsAnnotation is crun's way to give a process the groups of the runtime's caller
// (podman's --group-add keep-groups): a user's own right to files, by groups that a user
// namespace has no ids for.
const groupsAnnotation = "run.oci.keep_original_groups"

// KeepsGroups reports whether a container's processes keep the runtime's groups.
// process.user.additionalGids are not added to them then.
func KeepsGroups(annotations map[string]string) bool { return annotations[groupsAnnotation] == "1" }

// annotatedProperties reads the properties that annotations ask for, in the order of their
// names. They are checked with every driver: a mistake should not wait for systemd.
func annotatedProperties(annotations map[string]string) ([]Property, []error) {
	var list propertyList
	var errs []error
	var keys []string
	for key := range annotations {
		if strings.HasPrefix(key, propertyPrefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		name := key[len(propertyPrefix):]
		p, problem := annotatedProperty(name, annotations[key])
		if problem != "" {
			errs = append(errs, &Problem{`annotations["` + key + `"]`, problem})
			continue
		}
		list.put(p)
	}
	return list, errs
}

// AnnotatedName is the property that an annotation sets; false for one that sets none.
func AnnotatedName(key string) (string, bool) {
	name, ok := strings.CutPrefix(key, propertyPrefix)
	if base, isTime := strings.CutSuffix(name, "Sec"); isTime && !strings.HasSuffix(base, "U") {
		name = base + "USec"
	}
	return name, ok
}

func annotatedProperty(name, text string) (p Property, problem string) {
	if len(name) < 3 || strings.TrimFunc(name, isLetter) != "" {
		return p, "is no name of a property: letters only, three at least"
	}
	value, err := gvariant.Parse(text)
	if err != nil {
		return p, err.Error()
	}
	// What systemd.unit(5) calls FooSec is FooUSec on the bus.
	if base, ok := strings.CutSuffix(name, "Sec"); ok && base != "" && base[len(base)-1] >= 'a' {
		micros, ok := value.Seconds()
		if !ok {
			return p, value.String() + " is no number of seconds"
		}
		name, value = base+"USec", gvariant.Uint64(micros)
	}
	switch name {
	case "PIDs", "Slice", "Delegate":
		return p, "the runtime sets " + name + " itself"
	}
	return Property{Name: name, Value: value}, ""
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
