// Package host finds facts about this machine: capabilities that can be granted, cgroups, security modules, sysctls.
package host
