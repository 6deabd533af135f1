package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Credentials are those of a server on unix sockets: no encryption, and the kernel's word on who connected.
func Credentials() credentials.TransportCredentials { return credentialsOfSocket{} }

type credentialsOfSocket struct{}

// process is what is known of a client.
type process struct {
	credentials.CommonAuthInfo
	name string
}

// AuthType is the name of the kind, for logs.
func (process) AuthType() string { return "socket" }

// ServerHandshake says nothing to the client, and asks the kernel who it is.
func (credentialsOfSocket) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, process{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}, nameOf(conn)}, nil
}

// ClientHandshake is refused.
func (credentialsOfSocket) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a server's credentials")
}

// Info names the protocol, for logs.
func (credentialsOfSocket) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "socket"}
}

// Clone returns the same: there is no state.
func (c credentialsOfSocket) Clone() credentials.TransportCredentials { return c }

// OverrideServerName has no meaning here.
func (credentialsOfSocket) OverrideServerName(string) error { return nil }

// Process names the process whose call ctx belongs to, by its number and the time of its start: no other has had, or will have,
// the same name. "" where it is unknown: on another kind of connection, or in another pid namespace.
func Process(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, _ := p.AuthInfo.(process)
	return info.name
}

// nameOf is asked when the process has just connected, so that the number is still its own.
func nameOf(conn net.Conn) string {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return ""
	}
	var who *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		who, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || failed != nil || who.Pid <= 0 {
		return ""
	}
	start, err := startOf(int(who.Pid))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d:%s", who.Pid, start)
}

// startOf is the field starttime of proc_pid_stat(5), in clock ticks since the machine's start.
func startOf(pid int) (string, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	// The second field, the program's name, is in parentheses, and may have anything in it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	return string(fields[19]), nil
}
