// Package progress writes the stream of JSON objects that pull, push, load, import and build answer with.
package progress
