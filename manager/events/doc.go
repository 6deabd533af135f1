// Package events is the manager's memory of what happened: an ordered log, with a number for each event, from which
// subscribers read, each at its own pace. It implements containerd's events.Publisher, Forwarder and Subscriber.
//
// The log is kept on disk in the state directory, unsynced: it has to outlive the manager, not the machine. For each
// subscriber it remembers how far that one has read. A subscriber cut off by the death of the manager, which comes back
// with the same filters, is told first what it has missed: dockerd learns of exits from events alone. Another process with
// the same filters is told nothing of the kind.
//
//	DIR/NUMBER.log     a segment: records from NUMBER on, without a gap (frame.go, segment.go)
//	DIR/cursors/NAME   how far one subscriber is, and who it is (cursor.go)
//
// What is promised:
//
//   - One order: every subscriber sees the events that match its filters in the order of the log.
//   - A publisher waits for one write to the page cache and for nobody else. A subscriber that does not read costs
//     no memory that grows. When what it would read next has been dropped, it is told so: errdefs.ErrOutOfRange.
//   - At least once: a cursor follows what was sent with a delay (cursorLag), since gRPC takes a message before its
//     bytes have left the process. After a restart a subscriber may see again what it was sent in the last moments;
//     the number of each event tells.
//
// A place that nobody has come back for is kept for 15 minutes, or until the log has dropped what follows it. The
// directory belongs to one manager at a time; that is for the caller to see to.
package events
