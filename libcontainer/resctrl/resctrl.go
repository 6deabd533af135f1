// Package resctrl keeps a container in a class of service of the resctrl file system
// (Intel RDT), Documentation/filesystems/resctrl.rst and config-linux.md "IntelRdt".
package resctrl
