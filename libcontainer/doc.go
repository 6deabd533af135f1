// Package libcontainer makes, runs and removes OCI containers.
//
// The way of the data: config.json → bundle (strict decode) → validate → host
// facts → plan (pure) → launch (effects) → state (on disk). Each verb of a runtime
// is one file and one method of Runtime: Create, Start, Run, Exec, State, List,
// Kill, Delete, Pause, Resume, PIDs, Update, AddMounts, RemoveMounts, Checkpoint, Restore,
// Stats, Events, Plan, PlanDiff.
//
// # What is promised
//
// Nothing before version 1.0: any name of this package and of those below it may change with
// any commit. The command line of runc is the interface that stays. What a program that uses the
// package must know meanwhile:
//
//   - It must be linked statically and without cgo: a container's first process is a copy of
//     the program, cut loose from everything that a C library would need.
//   - Create, Run and Plan change the working directory of the whole program to the bundle.
//   - A container's first process is the program's child, as are, while Run or Exec wait in
//     the foreground, the orphans of the container unless NoSubreaper is set. Who creates, waits.
//   - Run and Exec in the foreground take the program's signals, stdin, stdout and stderr.
//   - One Root serves any number of programs; a container is locked while it is changed.
//   - Where ErrNoExeSwap is the answer, nothing was done, and the program must execute itself
//     anew from SealedCopy.
//   - The errors of this package are for errors.Is; fault.Error, validate.Error, plan.Problem and launch.Error, which
//     say which field of config.json was at fault, are for errors.As. Texts may change, but
//     for those of docs/decisions/0008.
package libcontainer
