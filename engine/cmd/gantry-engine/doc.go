// Command gantry-engine is the daemon around package engine: it can stand in for dockerd.
package main
