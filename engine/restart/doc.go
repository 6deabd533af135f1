// Package restart says whether and when a container that exited starts again. It is a pure function of policy and past.
package restart
