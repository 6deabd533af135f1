package compat

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// registryConfig is that of Debian's docker-registry. What is in it is gone with the test.
const registryConfig = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}
http: {addr: %q}
`

// Who may use a private registry, and the line of htpasswd that says so, with a cheap bcrypt.
const (
	RegistryUser     = "user"
	RegistryPassword = "secret"
	htpasswd         = RegistryUser + ":$2b$04$.FBtGgMgT5s1AiD2HIOxSuPppG5LAOy6CLwYCL/XN2mPQQwhA34ka\n"
)

// Registry runs a registry on an address of the loopback, until the test's end. Enter makes its command, one in another
// network namespace, say; nil is exec.Command.
func Registry(t testing.TB, address string, enter func(args ...string) *exec.Cmd) *Daemon {
	t.Helper()
	return registry(t, address, "", enter)
}

// PrivateRegistry is a Registry that wants RegistryPassword of RegistryUser.
func PrivateRegistry(t testing.TB, address string, enter func(args ...string) *exec.Cmd) *Daemon {
	t.Helper()
	return registry(t, address, htpasswd, enter)
}

func registry(t testing.TB, address, users string, enter func(args ...string) *exec.Cmd) *Daemon {
	t.Helper()
	program := Debian(t, "docker-registry")
	if enter == nil {
		enter = func(args ...string) *exec.Cmd { return exec.Command(args[0], args[1:]...) }
	}
	dir := t.TempDir()
	config := fmt.Appendf(nil, registryConfig, filepath.Join(dir, "data"), address)
	url := "http://" + address + "/v2/"
	if users != "" {
		file := filepath.Join(dir, "htpasswd")
		if err := os.WriteFile(file, []byte(users), 0o600); err != nil {
			t.Fatal(err)
		}
		config = fmt.Appendf(config, "auth: {htpasswd: {realm: test, path: %q}}\n", file)
		url = "http://" + RegistryUser + ":" + RegistryPassword + "@" + address + "/v2/"
	}
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	return Start(t, func() *exec.Cmd { return enter(program, "serve", path) },
		func() error { return enter("busybox", "wget", "-q", "-O", "/dev/null", url).Run() })
}
