// Package system has the routes about the engine itself: _ping, version, info, events, system/df, auth.
package system
