package shim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// containerdVersion is the release of containerd whose protocol this package speaks.
const containerdVersion = "2.4.2"

// Start runs the shim's start action for the bundle and connects to the server that it leaves, which may be one that
// is there already (a group). What fails is undone. Errors: errdefs.ErrInvalidArgument for a name that is none,
// ErrNotFound where there is no such binary, ErrUnavailable and the shim's own words for a start that failed.
func (l *Launcher) Start(ctx context.Context, b *bundle.Bundle, r Request) (*Shim, error) {
	binary, err := l.binaries.resolve(r.Runtime)
	if err != nil {
		return nil, err
	}
	file, err := identify(binary)
	if err != nil {
		return nil, err
	}
	// It is noted first: whoever kills this process in between leaves enough to clean up.
	if err := writeFile(b, binaryFile, []byte(binary), 0o600); err != nil {
		return nil, err
	}
	log, err := openLog(b)
	if err != nil {
		return nil, err
	}
	server, err := l.startBest(ctx, b, r, attempt{binary: binary, file: file})
	if err != nil {
		log.close()
		return nil, fmt.Errorf("start of %s: %w", filepath.Base(binary), err)
	}
	return &Shim{launcher: l, bundle: b, server: server, log: log}, nil
}

// startBest starts the server without the start action where it can.
func (l *Launcher) startBest(ctx context.Context, b *bundle.Bundle, r Request, a attempt) (*server, error) {
	if !l.activates(a.binary, b, r) {
		return l.startAny(ctx, b, r, a)
	}
	server, failed := l.activate(ctx, b, a.binary)
	if failed == nil || ctx.Err() != nil {
		return server, failed
	}
	slog.Debug("a shim is started by its start action", "namespace", b.Namespace, "id", b.ID, "because", failed)
	server, err := l.startAny(ctx, b, r, a)
	if err == nil && errors.Is(failed, errEnded) {
		l.binaries.refused(a.binary, a.file)
	}
	return server, err
}

// attempt is one way to start a shim.
type attempt struct {
	binary     string
	file       identity
	generation generation
}

// startAny tries the generations that the binary may be of.
func (l *Launcher) startAny(ctx context.Context, b *bundle.Bundle, r Request, a attempt) (*server, error) {
	var failed error
	for _, a.generation = range l.binaries.candidates(a.binary) {
		server, err := l.start(ctx, b, r, a)
		if err == nil {
			if failed == nil || old(failed) {
				l.binaries.remember(a.binary, a.file, a.generation)
			}
			return server, nil
		}
		if failed == nil || old(failed) && !deprecated(err) {
			failed = err
		}
		if _, ended := errors.AsType[*exitError](err); !ended || ctx.Err() != nil {
			break
		}
	}
	if errdefs.IsNotImplemented(failed) || errdefs.IsInvalidArgument(failed) || ctx.Err() != nil {
		return nil, failed
	}
	return nil, fmt.Errorf("%w: %w", failed, errdefs.ErrUnavailable)
}

// old tells by a shim's words that it takes parameters for options.
func old(err error) bool {
	text := err.Error()
	return strings.Contains(text, "type with url") || strings.Contains(text, "proto") || strings.Contains(text, "nmarshal")
}

// deprecated tells by a shim's words that it wants parameters.
func deprecated(err error) bool { return strings.Contains(err.Error(), "deprecated API") }

// start makes one attempt, of which nothing is left where it fails.
func (l *Launcher) start(ctx context.Context, b *bundle.Bundle, r Request, a attempt) (*server, error) {
	args, err := l.command(b, "start")
	if err != nil {
		return nil, err
	}
	stdin, err := l.stdin(b, r, a.generation)
	if err != nil {
		return nil, err
	}
	mark := marker + rand.Text()
	answer, words, err := run{
		binary: a.binary, args: args, dir: b.Path, stdin: stdin, limit: l.limits.start,
		env: append(l.environment(b), mark),
	}.do(ctx)
	if err != nil {
		return nil, errors.Join(err, l.undo(b, mark))
	}
	if words != "" {
		slog.Warn("shim start", "namespace", b.Namespace, "id", b.ID, "binary", a.binary, "stderr", words)
	}
	server, err := l.join(ctx, b, answer)
	if err != nil {
		if words != "" {
			err = fmt.Errorf("%w; it says: %s", err, words)
		}
		return nil, errors.Join(err, l.undo(b, mark))
	}
	return server, nil
}

// undo removes what an attempt that has failed has left: processes, and the sockets that have the bundle's name.
func (l *Launcher) undo(b *bundle.Bundle, mark string) error {
	err := killMarked(mark)
	// A process that is ending has lost its environment, by which it is found, before its sockets.
	for pause := time.Millisecond; !l.removeOwnSockets(b) && pause < time.Second; pause *= 2 {
		time.Sleep(pause)
	}
	return err
}

// join connects to the server that an answer of start names, and notes it.
func (l *Launcher) join(ctx context.Context, b *bundle.Bundle, text []byte) (*server, error) {
	answer, err := parseAnswer(text)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.limits.answer)
	defer cancel()
	server, err := l.connect(ctx, b, answer, nil)
	if err != nil {
		return nil, err
	}
	answer.Version = int32(server.version) // one of a group may be older than the binary
	if err := save(b, answer); err != nil {
		l.release(server)
		return nil, err
	}
	return server, nil
}

// stdin is what start is told in the way of a generation.
func (l *Launcher) stdin(b *bundle.Bundle, r Request, g generation) ([]byte, error) {
	if g == options {
		if r.Options == nil {
			return nil, nil
		}
		return proto.Marshal(r.Options)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir := l.socketDir(b)
	params := &bootapi.BootstrapParams{
		InstanceID:             b.ID,
		Namespace:              b.Namespace,
		ContainerdVersion:      containerdVersion,
		ContainerdTtrpcAddress: l.config.TTRPCAddress,
		ContainerdGrpcAddress:  l.config.Address,
		ContainerdBinary:       self,
		SocketDir:              &dir,
	}
	if l.config.Debug {
		params.LogLevel = bootapi.LogLevel_LOG_LEVEL_DEBUG
	}
	if r.Options != nil {
		params.Extensions = []*bootapi.Extension{{Value: r.Options}}
	}
	return proto.Marshal(params)
}

// Attach connects to a server that somebody else started for the bundle, a pod's sandbox, say. Errors as Start's.
func (l *Launcher) Attach(ctx context.Context, b *bundle.Bundle, address string, version int) (*Shim, error) {
	answer := &bootapi.BootstrapResult{
		Address: strings.TrimPrefix(address, transport+"+"), Version: int32(version), Protocol: transport,
	}
	if err := checkAnswer(answer); err != nil {
		return nil, err
	}
	log, err := openLog(b)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.limits.answer)
	defer cancel()
	server, err := l.connect(ctx, b, answer, nil)
	if err != nil {
		log.close()
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	answer.Version = int32(server.version)
	err = save(b, answer)
	if err == nil && server.binary != "" { // whose delete action is the bundle's, too
		err = writeFile(b, binaryFile, []byte(server.binary), 0o600)
	}
	if err != nil {
		l.release(server)
		log.close()
		return nil, err
	}
	return &Shim{launcher: l, bundle: b, server: server, log: log}, nil
}
