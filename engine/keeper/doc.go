// Package keeper is the process that outlives the engine. It holds the engine's end of every container's streams: it
// writes the log, feeds those who are attached and gives their input to the container. The engine talks to it over a
// unix socket, hands it whole client connections, and may die and be replaced meanwhile.
package keeper
