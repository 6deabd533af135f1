// Package stdio is the side of the engine towards the keeper: it starts the keeper, finds it again, and asks it.
package stdio
