// Package engine is the fourth layer: it serves the Docker Engine API and keeps nothing running itself. It is a
// library; the daemon of cmd/gantry-engine is a few lines around it.
//
// The way of a `docker run` through it, one package per step:
//
//	httpapi/…    decodes the request of one resource, asks an interface of its own, and answers in the client's version
//	containers   the life of a container: create, start, stop, restart, exit, remove
//	images       what there is to start from; registry brings it and takes it away, build makes it
//	mounts       what the container sees beside its root: volumes, binds, tmpfs
//	rootfs       the container's snapshot
//	spec         a pure function: the record, the image and facts about the host → an OCI spec
//	keeper       the process that outlives the engine: it reads the container's output, writes the log, serves attach
//	tasks        the only package that asks the manager to run something
//	events       what happened, told to who listens
//
// Every effect on a running thing goes through containerd's client to a manager (ours or a real containerd); no other
// layer of this repository is imported.
//
//	New    opens the state and connects to the manager
//	Load   finds the containers that live from before, and what became of them meanwhile
//	Serve  answers clients
//	Close  ends all of it and leaves the containers as they are
package engine
