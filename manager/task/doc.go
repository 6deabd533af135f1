// Package task is the heart of the manager: tasks from Create to Delete, over their shims.
//
// What must hold whatever dies, and when:
//
//   - A task is readable, with the right state and exit code, until its client deletes it: through a restart of the
//     manager, the death of its shim, or both.
//   - Each exit is told once, in order, with the true code where anybody knew it: the shim's answer, its event, the
//     record that it left in the bundle, in this order; 137 where nobody did.
//   - Each operation ends within its limit, whatever the shim does; Delete can be repeated.
//   - Nothing is left over: a bundle without a shim, a shim without a bundle, a task without a container.
package task
