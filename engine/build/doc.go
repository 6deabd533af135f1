// Package build is the classic builder: a Dockerfile, parsed by BuildKit's parser, becomes containers and commits.
//
//	Build     one build, from the request to the tagged image
//	context   what the client sent, unpacked into a folder that nothing leads out of
//	stage     the instructions of one FROM, and the configuration that they change
//	run       RUN: a container of the last image, whose changes become a layer
//	copy      COPY and ADD: files go from one tree to another as a tar stream, without a container
//	cache     an image that was built here, on the same parent, by the same configuration, is taken again
//
// Every file operation on what strangers wrote happens in a view (package rootfs): a thread whose root is that tree.
package build
