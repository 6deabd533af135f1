package main

import (
	"regexp"
	"strings"
)

// excuses are the reasons for which a test may be skipped in the machines: what they say is
// true of every one of them. A test that is skipped for another reason could have run, or
// nobody has thought about it.
var excuses = regexp.MustCompile(strings.Join([]string{
	// cgroup v1 is off: the developer's machine runs these.
	`this machine has no cgroup hierarchy "`,
	`reads the files of cgroup v1, which is not mounted here`,
	`needs cgroup v1 `,
	`needs a machine with the v1 hierarchy `,
	`expects a v2 hierarchy with hugetlb only`,
	`this machine has none of \[(memory\.(swappiness|oom_control|kmem\.tcp\.limit_in_bytes|use_hierarchy)|cpu\.rt_(runtime|period)_us|blkio\.leaf_weight|net_cls\.classid|net_prio\.ifpriomap)\]`,
	// Linux is 6.1: ID-mapped tmpfs came with 6.3, and so did vm.memfd_noexec.
	`needs Linux 6\.3`,
	`this kernel \(before 6\.3\) can't forbid executable memfds`,
	`this kernel has no vm\.memfd_noexec`,
	// Another kernel, by hand: what it lacks.
	`needs Linux 5\.10 or 5\.11`,
	// A boot has one security module or none; another boot has the other.
	`needs a kernel without the module`,
}, "|"))
