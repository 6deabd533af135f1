// Package restart keeps containers as their labels say: running, by a policy, or stopped. Clients without a daemon of
// their own, nerdctl for one, leave that to the manager. The labels are containerd's.
package restart
