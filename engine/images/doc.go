// Package images is what containers start from: the manager's image records seen as Docker sees images. List, inspect,
// history, tag, remove, prune, load, save, import, commit, from an index that is kept by what changes.
package images
