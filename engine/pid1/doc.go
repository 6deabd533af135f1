// Package pid1 is what --init puts before a container's program: it starts the program, hands signals on to it, takes
// in the processes that lose their parents, and ends as the program ended.
package pid1
