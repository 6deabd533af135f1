// Package health probes containers as their HEALTHCHECK says, and keeps the last answers.
package health
