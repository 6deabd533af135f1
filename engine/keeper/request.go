package keeper

import "time"

// HelloRequest asks who the keeper is and what it has. After it, the keeper tells what happens.
func HelloRequest() Request { return Request{Op: opHello, Key: Key{Container: "-"}} }

// OpenRequest asks for a process's FIFOs.
func OpenRequest(s Streams) Request { return Request{Op: opOpen, Key: s.Key, Streams: &s} }

// AttachRequest goes with a client's connection.
func AttachRequest(k Key, session string, a Attach) Request {
	return Request{Op: opAttach, Key: k, Session: session, Attach: &a}
}

// DrainedRequest says that a process has ended, and asks for the end of its output.
func DrainedRequest(k Key, limit time.Duration) Request {
	return Request{Op: opDrained, Key: k, Limit: limit}
}

// CloseRequest ends all about a process.
func CloseRequest(k Key) Request { return Request{Op: opClose, Key: k} }
