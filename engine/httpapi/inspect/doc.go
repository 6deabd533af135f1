// Package inspect has the routes that look at containers: list, inspect, top, stats.
package inspect
