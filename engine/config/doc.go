// Package config is what the engine was told: dockerd's flags and daemon.json keys, where the thing exists.
package config
