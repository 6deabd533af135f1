// Package testcontainers has Testcontainers for Go talk to the engine that the environment names; the test of package
// clients starts one and runs this one's. It is a module of its own: what it needs, the engine does not.
package testcontainers
