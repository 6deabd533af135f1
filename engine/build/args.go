package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// proxies are arguments that every build may have without ARG. They are not part of an image's history, so that it is
// the same whatever they are.
var proxies = map[string]bool{
	"HTTP_PROXY": true, "http_proxy": true, "HTTPS_PROXY": true, "https_proxy": true, "FTP_PROXY": true, "ftp_proxy": true,
	"NO_PROXY": true, "no_proxy": true, "ALL_PROXY": true, "all_proxy": true,
}

// arguments is what ARG declared, with what the client gave.
type arguments struct {
	given map[string]*string
	// declared in this stage, and before the first FROM, with their defaults.
	declared, global map[string]*string
	// used are those that were declared anywhere.
	used map[string]bool
}

func newArguments(given map[string]*string) *arguments {
	return &arguments{given: given, declared: map[string]*string{}, global: map[string]*string{}, used: map[string]bool{}}
}

// stage is the arguments at the beginning of a stage.
func (a *arguments) stage() *arguments {
	return &arguments{given: a.given, declared: map[string]*string{}, global: a.global, used: a.used}
}

func (a *arguments) declare(key string, value *string) {
	a.declared[key] = value
	a.used[key] = true
}

// value is that of an argument: the client's before the default of where it is declared.
func (a *arguments) value(key string, declared map[string]*string) (string, bool) {
	if v := a.given[key]; v != nil {
		return *v, true
	}
	if v := declared[key]; v != nil {
		return *v, true
	}
	if v := a.global[key]; v != nil {
		if _, ok := declared[key]; ok || proxies[key] {
			return *v, true
		}
	}
	return "", false
}

// list is "NAME=value" of those that are declared and of the proxies, by name, without those that are variables of an
// environment already.
func (a *arguments) list(declared map[string]*string, env []string) []string {
	names := map[string]bool{}
	for k := range declared {
		names[k] = true
	}
	for k := range proxies {
		names[k] = true
	}
	for _, v := range env {
		k, _, _ := strings.Cut(v, "=")
		delete(names, k)
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(names)) {
		if v, ok := a.value(k, declared); ok {
			out = append(out, k+"="+v)
		}
	}
	return out
}

// variables are those that instructions of this stage see beside the environment.
func (a *arguments) variables(env []string) []string { return a.list(a.declared, env) }

// globals are those that FROM sees.
func (a *arguments) globals() []string { return a.list(a.global, nil) }

// recorded is the command that the history tells of: with arguments in front, behind a mark that no command begins
// with. Proxies count only when the Dockerfile declares them.
func (a *arguments) recorded(variables, command []string) []string {
	if len(variables) == 0 {
		return command
	}
	var kept []string
	for _, v := range variables {
		k, _, _ := strings.Cut(v, "=")
		if _, declared := a.declared[k]; declared || !proxies[k] {
			kept = append(kept, v)
		}
	}
	slices.Sort(kept)
	return append(append([]string{fmt.Sprintf("|%d", len(kept))}, kept...), command...)
}

// unused are those that the client gave and nothing declared.
func (a *arguments) unused() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(a.given)) {
		if !proxies[k] && !a.used[k] {
			out = append(out, k)
		}
	}
	return out
}
