// Package logs writes and reads log files: the json-file and local formats, rotation, compression, tail, follow.
package logs
