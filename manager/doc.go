// Package manager is the third layer: a lifecycle manager that serves containerd's gRPC API. It is a library; the
// daemon of cmd/gantry-manager is a few lines around it.
//
// Ours is what decides: shims, tasks, events, bundles, recovery, and the faces of every service. Borrowed is what
// keeps: containerd's metadata database, content store, snapshotters, differs, transfer and registry client, all of
// them opened in package store and used through containerd's own interfaces (docs/decisions/0032).
//
//	Listen      makes a socket as the two below want it
//	New         opens the stores and puts the services together
//	ServeTTRPC  answers shims, which bring their events there
//	Load        finds the tasks that live from before
//	Serve       answers clients
//	Close       ends all of it and leaves shims and containers as they are
package manager
