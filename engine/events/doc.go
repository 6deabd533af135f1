// Package events tells what happened: a bus with the last 256 events, and filters for who listens.
package events
