// Package cni is the engine as a network plug-in for BuildKit: steps of builds get their places on the default bridge by
// it. BuildKit runs a program for each, as the specification of CNI 1.0 wants it; this one only asks the engine, which
// listens at a socket for root alone.
package cni
