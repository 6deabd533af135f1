// Package store opens what the manager borrows from containerd, and is the only package that links it: the metadata
// database (bbolt), the content store, the overlay and native snapshotters, the differ, the mount manager. Everybody else
// sees containerd's interfaces. Places are containerd's, so that its root directory can be taken over.
//
// What is ours here: opening after a loss of power (repair, and words about it), answers from memory for what is read
// most, when garbage is collected, and that a full disk can still be deleted from. Package boltfile reads databases that
// bbolt may not have.
package store
