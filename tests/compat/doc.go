// Package compat drives the programs that people run above runc (containerd, dockerd,
// podman, buildah, BuildKit) with bin/runc in runc's place. Each has a package below this
// one, which starts the real daemon in a folder of its own and runs the scripts in its
// testdata: what a user would type, and what must come back.
//
// hack/install-clients installs them all.
package compat
