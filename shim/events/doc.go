// Package events brings what happened to a container to the daemon: in order, once, and however long the daemon is
// away. An event is first appended to a file in the container's bundle (a [Log]), with a sequence number; one
// goroutine (the [Publisher]) forwards the events of all containers of the shim in the order in which they were
// appended, and notes in the file what the daemon has taken. Nothing but a reference is kept in memory.
//
// After the daemon was away, events wait until its clients have had time to subscribe again (see times.pause): to
// those that come later it tells nothing. An idle shim has no connection to the daemon, and one goroutine, which
// waits for the daemon's end.
//
// What a shim that died left is read by [Undelivered], and delivered by another process with [Publisher.Adopt].
package events
