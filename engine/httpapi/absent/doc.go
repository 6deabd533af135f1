// Package absent answers for what this engine does not do (swarm, managed plugins, cluster volumes) as an inactive moby
// does: clients ask, and go on.
package absent
