// Package stdio connects a container's process with whoever reads its output and types its input: fifos, files, a
// logger program, or a terminal, as containerd's clients name them.
//
// Between the process and a fifo there is a pipe, so that the process has files of its own, and one goroutine that
// waits in Go's poller and moves what comes with splice(2). Nothing else exists for a stream: no buffer and no thread
// while nothing moves, and no goroutine at all for /dev/null and for a logger, which reads the pipes itself.
//
// A file gets the output by copying, too. Handing the process the file itself would be cheaper, but a process may open
// /dev/stdout anew: "echo >/dev/stdout" would cut the log of everything before it, and a user who is not the owner
// could not open it at all. A pipe has neither fault.
//
// The pipes keep their usual size: with larger ones nothing was won that could be told from chance.
package stdio
