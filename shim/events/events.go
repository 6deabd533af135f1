package events

import "github.com/gantry-containers/gantry/shim/ttrpc"

// FileName is the log's name in the bundle.
const FileName = "events"

// Event is a message of shim/api/events, the topic that it is published under, such as /tasks/exit, and the name of
// its type, such as containerd.events.TaskExit.
type Event struct {
	Topic   string
	Type    string
	Message ttrpc.Message
}
