package validate

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/idmap"
)

// mountOptions is what the options of a mount say about its kind.
type mountOptions struct {
	bind      bool // bind or rbind, or the type says it
	remount   bool
	idmap     bool // idmap or ridmap
	tmpcopyup int  // index plus one
	// crun's, each the index plus one
	mapping, srcNoFollow, destNoFollow, copySymlink int
}

func scanOptions(m *specs.Mount) mountOptions {
	opts := mountOptions{bind: m.Type == "bind"}
	for i, o := range m.Options {
		switch o {
		case "bind", "rbind":
			opts.bind = true
		case "remount":
			opts.remount = true
		case "tmpcopyup":
			opts.tmpcopyup = i + 1
		case "src-nofollow":
			opts.srcNoFollow = i + 1
		case "dest-nofollow":
			opts.destNoFollow = i + 1
		case "copy-symlink":
			opts.copySymlink = i + 1
		default:
			if m, ok := idmap.Cut(o); ok {
				opts.idmap = true
				if m.Value != "" {
					opts.mapping = i + 1
				}
			}
		}
	}
	return opts
}

// knownOption reports whether the option is one of the spec's table, which the runtime
// itself acts on. Every other one goes to the filesystem.
func knownOption(o string) bool {
	switch o {
	case "async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "iversion",
		"lazytime", "loud", "mand", "noatime", "nodev", "nodiratime", "noexec", "noiversion",
		"nolazytime", "nomand", "norelatime", "nostrictatime", "nosuid", "nosymfollow",
		"rbind", "relatime", "remount", "ro", "rw", "silent", "strictatime", "suid",
		"symfollow", "sync":
		return true
	case "ratime", "rdev", "rdiratime", "rexec", "rnoatime", "rnodev", "rnodiratime", "rnoexec",
		"rnorelatime", "rnostrictatime", "rnosuid", "rnosymfollow", "rrelatime", "rro", "rrw",
		"rstrictatime", "rsuid", "rsymfollow":
		return true
	case "tmpcopyup", "src-nofollow", "dest-nofollow", "copy-symlink":
		return true
	}
	_, mapped := idmap.Cut(o)
	return mapped || propagation(o)
}

// propagation reports whether the word is a mode of mount propagation, mount_namespaces(7),
// for one mount or with "r" for all below it.
func propagation(o string) bool {
	switch o {
	case "private", "rprivate", "rshared", "rslave", "runbindable", "shared", "slave", "unbindable":
		return true
	}
	return false
}
