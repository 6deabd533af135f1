// Package oci runs an OCI runtime's binary: runc's command line, as every runtime that containerd knows takes it.
package oci
