// Command runc-wasm is what a container executes whose process is a WebAssembly module: it
// runs the module that argv names, with WASI preview 1, and ends with its exit status. The
// runtime starts it inside the container, from a sealed copy, as the container's user and
// under all of its limits (docs/decisions/0026).
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// How it ends when the module does not: as a shell tells of a file that is missing or can't
// be executed, and of an abort.
const (
	exitTrap          = 128 + int(unix.SIGABRT)
	exitNotExecutable = 126
	exitNotFound      = 127
)

func main() {
	status, err := run(os.Args, os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, "runc-wasm:", err)
	}
	os.Exit(status)
}

// run runs the module args[0] and returns its exit status.
func run(args, env []string) (int, error) {
	if len(args) == 0 {
		return exitNotFound, errors.New("no module is named")
	}
	module, err := read(args[0], env)
	if err != nil {
		return exitNotFound, err
	}
	if err := check(module); err != nil {
		return exitNotExecutable, fmt.Errorf("%s: %w", args[0], err)
	}
	_ = setName(filepath.Base(args[0]))
	endOnSignals()
	return execute(module, args, env)
}

// execute compiles the module and runs it to its end.
func execute(module []byte, args, env []string) (int, error) {
	// Compiling is most of what a start takes: all processors share in it.
	ctx := experimental.WithCompilationWorkers(context.Background(), runtime.GOMAXPROCS(0))
	engine := wazero.NewRuntime(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, engine)
	compiled, err := engine.CompileModule(ctx, module)
	if err != nil {
		return exitNotExecutable, fmt.Errorf("%s: %w", args[0], err)
	}
	_, err = engine.InstantiateModule(ctx, compiled, config(args, env))
	var exit *sys.ExitError
	switch {
	case errors.As(err, &exit):
		return int(exit.ExitCode() & 0xff), nil
	case err != nil:
		return exitTrap, fmt.Errorf("%s: %w", args[0], err)
	}
	return 0, nil
}

// config gives the module what a process has: arguments, environment, stdio, the clocks,
// and the container's root.
func config(args, env []string) wazero.ModuleConfig {
	c := wazero.NewModuleConfig().WithName("").WithArgs(args...).
		WithStdin(os.Stdin).WithStdout(os.Stdout).WithStderr(os.Stderr).
		WithFSConfig(wazero.NewFSConfig().WithDirMount("/", "/")).
		WithSysWalltime().WithSysNanotime().WithSysNanosleep().
		WithOsyield(runtime.Gosched).WithRandSource(rand.Reader)
	hasPWD := false
	for _, e := range env {
		if key, value, ok := strings.Cut(e, "="); ok {
			c = c.WithEnv(key, value)
			hasPWD = hasPWD || key == "PWD"
		}
	}
	// WASI has no working directory; what many toolchains go by is this variable.
	if dir, err := os.Getwd(); err == nil && !hasPWD {
		c = c.WithEnv("PWD", dir)
	}
	return c
}
