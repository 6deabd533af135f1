// Package metrics counts calls and writes figures in the text form that Prometheus reads, under the names that
// containerd gives them. It is small enough not to need Prometheus' library, whose tables would be in every idle
// manager's memory.
package metrics
