// Package stats turns the metrics of the manager into the samples that docker stats reads.
package stats
