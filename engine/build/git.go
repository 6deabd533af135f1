package build

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/gantry-containers/gantry/engine/fault"
)

// repository is where a context is in git.
type repository struct {
	// remote is an address with a scheme that is allowed; ref is a branch, a tag, or another reference; dir is the folder
	// in it that is the context, from its top.
	remote, ref, dir string
}

// gitSchemes are the protocols that git may speak. Others run programs or read this machine's files.
var gitSchemes = map[string]bool{"git": true, "http": true, "https": true, "ssh": true}

// parseRepository reads an address. What follows "#" is a reference, and a folder after ":".
func parseRepository(address string) (repository, error) {
	remote, fragment, _ := strings.Cut(address, "#")
	r := repository{remote: remote}
	if !strings.HasPrefix(remote, "git@") {
		u, err := url.Parse(remote)
		if err != nil || !gitSchemes[u.Scheme] {
			r.remote = "https://" + remote
			if u, err = url.Parse(r.remote); err != nil {
				return r, err
			}
		}
		if strings.HasPrefix(u.Host, "-") {
			return r, fault.Errorf(errdefs.ErrInvalidArgument, "invalid host: %s", u.Host)
		}
	}
	r.ref, r.dir, _ = strings.Cut(fragment, ":")
	if r.ref == "" {
		r.ref = "master"
	}
	if strings.HasPrefix(r.ref, "-") {
		return r, fmt.Errorf("invalid refspec: %s", r.ref)
	}
	return r, nil
}

// git is a context in a git repository, if there is a git here.
func (b *build) git(ctx context.Context, address string) (*parser.Result, error) {
	r, err := parseRepository(address)
	if err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("a context in a git repository needs git: %w", err)
	}
	dir := filepath.Join(b.dir, "git")
	if err := r.fetch(ctx, dir); err != nil {
		return nil, err
	}
	// What was fetched is strangers': from here on all is done in a view of it.
	if b.context, err = openFolder(dir); err != nil {
		return nil, err
	}
	if r.dir != "" {
		info, err := b.context.stat(r.dir)
		if err != nil {
			return nil, fmt.Errorf("error setting git context, %q not within git root: %w", r.dir, err)
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("error setting git context, not a directory: %s", r.dir)
		}
		if err := b.narrow(r.dir); err != nil {
			return nil, err
		}
	}
	return b.dockerfile()
}

// narrow makes a folder of the context the context.
func (b *build) narrow(dir string) error {
	dest := filepath.Join(b.dir, "context")
	if err := os.Mkdir(dest, 0o700); err != nil {
		return err
	}
	narrow, err := openFolder(dest)
	if err != nil {
		return err
	}
	whole := b.context
	b.context = narrow
	defer whole.close()
	p := placing{target: target{path: "/"}, tree: narrow}
	return p.place(source{tree: whole, path: dir})
}

// fetch gets what the reference names, and the submodules.
func (r repository) fetch(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	run := func(what string, args ...string) error {
		out, err := git(ctx, dir, args...)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", what, out, err)
		}
		return nil
	}
	if err := run("failed to init repo", "init", "--quiet"); err != nil {
		return err
	}
	if err := run("failed add origin repo at "+r.remote, "remote", "add", "--", "origin", r.remote); err != nil {
		return err
	}
	shallow := run("error fetching", "fetch", "--depth", "1", "--", "origin", r.ref)
	if shallow != nil {
		// Plain web servers cannot give a part.
		if err := run("error fetching", "fetch", "--", "origin", r.ref); err != nil {
			return err
		}
	}
	if err := run("error checking out "+r.ref, "checkout", "--quiet", "FETCH_HEAD"); err != nil {
		return err
	}
	return run("error initializing submodules", "submodule", "update", "--init", "--recursive", "--depth=1")
}

// maxSaid bounds what is told of git's words, in bytes.
const maxSaid = 4 << 10

// git runs git in a folder, without the machine's configuration, without questions, and for protocols of the network
// alone.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	args = append([]string{"-c", "protocol.file.allow=never", "-c", "protocol.ext.allow=never"}, args...)
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:forbidigo // nothing else speaks git's protocols
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_PROTOCOL_FROM_USER=0",
		"GIT_SSH_COMMAND=ssh -o BatchMode=yes", "LC_ALL=C",
	}
	for _, proxy := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if v, ok := os.LookupEnv(proxy); ok {
			cmd.Env = append(cmd.Env, proxy+"="+v)
		}
	}
	said := &limited{left: maxSaid}
	cmd.Stdout, cmd.Stderr = said, said
	err := cmd.Run()
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return strings.TrimSpace(said.String()), err
}

// limited keeps the beginning of what is written.
type limited struct {
	strings.Builder
	left int
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if _, err := l.Builder.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}
