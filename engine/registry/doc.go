// Package registry talks to registries: pull with unpack, push, login, search, with their credentials, mirrors,
// certificates and lies.
package registry
