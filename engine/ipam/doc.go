// Package ipam gives networks their subnets and containers their addresses. It is pure: who keeps what was given is the
// caller's business.
package ipam
