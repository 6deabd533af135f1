// Package images has the routes of images at rest: list, inspect, history, tag, remove, prune, load, save, import, commit.
package images
