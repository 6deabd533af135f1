// Package filters reads the filters parameter in both of its forms and says whether a thing passes.
package filters
