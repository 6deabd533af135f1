// Package config is the manager's configuration: a TOML file in containerd's form, versions 2 to 4. Settings that the
// manager has are read from where containerd has them; those of parts that the manager lacks are accepted, and named in
// a warning, so that a containerd's file can be used as it is.
package config
