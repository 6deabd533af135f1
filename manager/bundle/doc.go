// Package bundle makes and removes the directories that tasks live in: config.json, the mount point rootfs, and what
// shims put beside them. Places and modes are containerd's, so that a containerd's state directory can be taken over:
//
//	STATE/io.containerd.runtime.v2.task/NAMESPACE/ID   the bundle
//	ROOT/io.containerd.runtime.v2.task/NAMESPACE/ID    its work directory, on disk; the bundle has a link `work` to it
package bundle
