// Package criutest stands in for CRIU in tests: a test binary that finds itself called criu
// speaks CRIU's protocol, and dumps and restores nothing. What it says is chosen by
// environment variables, so it can fail in ways that the real one seldom does.
package criutest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"golang.org/x/sys/unix"
)

// What the environment says.
const (
	versionVar  = "FAKECRIU_VERSION"  // "major.minor.sub", default 3.17.1
	requestsVar = "FAKECRIU_REQUESTS" // file that each request is appended to, as JSON
	failVar     = "FAKECRIU_FAIL"     // kind of request that is refused: dump, restore …
	dieVar      = "FAKECRIU_DIE"      // kind of request at which it dies
	lackVar     = "FAKECRIU_LACK"     // not empty: no features
)

// Install makes the running test binary the criu in PATH, for the test, and returns the
// file of requests. The binary's TestMain must call Main first.
func Install(t testing.TB, env ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "criu")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	requests := filepath.Join(dir, "requests")
	t.Setenv(requestsVar, requests)
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv("FAKECRIU_"+name, value)
	}
	return requests
}

// Main plays CRIU and ends the process when the test binary is called criu.
func Main() {
	if filepath.Base(os.Args[0]) != "criu" {
		return
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "fake criu:", err)
		os.Exit(1) //nolint:forbidigo // it is the main function of a program of its own
	}
	os.Exit(0) //nolint:forbidigo // the same
}

// fake is one connection.
type fake struct {
	socket int
	log    *os.File
}

func serve() error {
	if len(os.Args) != 3 || os.Args[1] != "swrk" {
		return fmt.Errorf("called with %v", os.Args)
	}
	socket, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	f := &fake{socket: socket}
	req, err := f.receive()
	if err != nil {
		return err
	}
	if err := record(req); err != nil {
		return err
	}
	kind := strings.ToLower(req.GetType().String())
	if o := req.GetOpts(); o != nil {
		if err := f.openLog(o); err != nil {
			return err
		}
		fmt.Fprintln(f.log, "(00.000001) Error (fake.c:1): the cause\n(00.000002) Error (fake.c:2): "+kind+" FAILED.")
	}
	if os.Getenv(dieVar) == kind {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	resp := &rpc.CriuResp{Type: req.Type, Success: new(true)}
	if os.Getenv(failVar) == kind {
		resp.Success, resp.CrErrno = new(false), new(int32(unix.EEXIST))
		return f.send(resp)
	}
	switch req.GetType() {
	case rpc.CriuReqType_VERSION:
		resp.Version, err = version()
	case rpc.CriuReqType_FEATURE_CHECK:
		has := os.Getenv(lackVar) == ""
		resp.Features = &rpc.CriuFeatures{MemTrack: &has, LazyPages: &has}
	case rpc.CriuReqType_DUMP:
		if !req.GetOpts().GetLeaveRunning() {
			err = unix.Kill(int(req.GetOpts().GetPid()), unix.SIGKILL)
		}
	case rpc.CriuReqType_RESTORE:
		resp.Restore, err = f.restore(resp)
	default:
	}
	return errors.Join(err, f.send(resp))
}

// restore makes a process that the runtime takes for a container's: its own child, as with
// the real one's rst_sibling. One that a notification refuses is killed.
func (f *fake) restore(resp *rpc.CriuResp) (*rpc.CriuRestoreResp, error) {
	cmd := exec.Command("sleep", "1000") //nolint:forbidigo // tests run programs
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_PARENT}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := int32(cmd.Process.Pid)
	for _, script := range []string{"setup-namespaces", "post-restore"} {
		kind := rpc.CriuReqType_NOTIFY
		err := f.send(&rpc.CriuResp{Type: &kind, Success: new(true), Notify: &rpc.CriuNotify{Script: &script, Pid: &pid}})
		if err != nil {
			return nil, err
		}
		answer, err := f.receive()
		if err != nil || !answer.GetNotifySuccess() {
			_ = cmd.Process.Kill()
			resp.Success = new(false)
			return nil, err
		}
	}
	return &rpc.CriuRestoreResp{Pid: &pid}, nil
}

func (f *fake) receive() (*rpc.CriuReq, error) {
	buf := make([]byte, 1<<20)
	n, err := unix.Read(f.socket, buf)
	if err != nil || n == 0 {
		return nil, errors.Join(errors.New("no request"), err)
	}
	req := new(rpc.CriuReq)
	return req, req.UnmarshalVT(buf[:n])
}

func (f *fake) send(resp *rpc.CriuResp) error {
	b, err := resp.MarshalVT()
	if err == nil {
		_, err = unix.Write(f.socket, b)
	}
	return err
}

// openLog opens the log where CRIU would: the directories are descriptors of the caller.
func (f *fake) openLog(o *rpc.CriuOpts) error {
	dir := o.GetImagesDirFd()
	if o.WorkDirFd != nil {
		dir = o.GetWorkDirFd()
	}
	name := fmt.Sprintf("/proc/%d/fd/%d/%s", os.Getppid(), dir, o.GetLogFile())
	var err error
	f.log, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	return err
}

func record(req *rpc.CriuReq) error {
	b, err := json.Marshal(req)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(os.Getenv(requestsVar), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(append(b, '\n'))
	return err
}

func version() (*rpc.CriuVersion, error) {
	v := &rpc.CriuVersion{MajorNumber: new(int32(3)), MinorNumber: new(int32(17)), Sublevel: new(int32(1))}
	if text := os.Getenv(versionVar); text != "" {
		_, err := fmt.Sscanf(text, "%d.%d.%d", v.MajorNumber, v.MinorNumber, v.Sublevel)
		return v, err
	}
	return v, nil
}
