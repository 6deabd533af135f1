// Package system tells about the engine: version, info, disk use.
package system
