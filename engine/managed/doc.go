// Package managed starts a manager beside the engine when none was named, and starts it again when it died.
package managed
