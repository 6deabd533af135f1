// Package cgroup looks at a container's cgroup: its statistics in the form that containerd's clients decode, and the
// kernel's OOM kills. On v1, hybrid and v2. It makes and changes none: that is the runtime's.
package cgroup
