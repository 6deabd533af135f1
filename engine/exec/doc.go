// Package exec keeps the further processes of containers: created, started, ended; across restarts of the engine.
package exec
