// Package bridge makes the devices of networks: bridges, the links that lead from them into containers, and the network
// namespaces at the links' other ends. It knows nothing of who uses them.
package bridge
