package bootstrap

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"

	api "github.com/gantry-containers/gantry/shim/api/bootstrap"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/bundle"
)

// DefaultSocketDir is where daemons before 2.3 want all shims' sockets, wherever their own state is.
const DefaultSocketDir = "/run/containerd/s"

// The versions of the task service. A shim serves both; only the name of the service differs.
const (
	version2 = 2
	version3 = 3
)

// Params is what the daemon said, by flags, environment and stdin together.
type Params struct {
	ID, Namespace             string
	GRPCAddress, TTRPCAddress string
	Debug                     bool
	SocketDir                 string     // where to make the socket; it has a default
	Options                   *known.Any // the runtime's options, containerd.runc.v1.Options; nil if none
	Structured                bool       // stdin was BootstrapParams: the answer is BootstrapResult
	Sandbox                   bool       // the daemon, one from 2.0 on, starts a sandbox
	MaxVersion                int        // of the task service that the daemon understands, 2 or 3
}

// Read completes what flags and environment said by stdin, whose form is found by its content: nothing or the options
// in an Any (1.6 to 2.2), or BootstrapParams (2.3 and later). These two are alike on the wire, where a container's id
// lies in the place of a type's name: what tells them apart is that BootstrapParams name the container of the flags.
func Read(flags Params, stdin []byte) (Params, error) {
	p := flags
	p.MaxVersion = version2
	if p.SocketDir == "" {
		p.SocketDir = DefaultSocketDir
	}
	if len(stdin) == 0 {
		return p, nil
	}
	var params api.BootstrapParams
	if params.UnmarshalVT(stdin) == nil && params.InstanceId == flags.ID && params.Namespace == flags.Namespace {
		p.take(&params)
		return p, nil
	}
	var options known.Any
	err := options.UnmarshalVT(stdin)
	switch {
	case err == nil && onlyAny(&options, stdin):
		p.Options = &options
		return p, nil
	case err == nil && options.TypeUrl != "":
		return p, fmt.Errorf("stdin: bootstrap parameters of container %q, but -id and -namespace say %q in %q",
			options.TypeUrl, flags.ID, flags.Namespace)
	}
	return p, fmt.Errorf("stdin: its %d bytes are neither containerd's bootstrap parameters nor a runtime's options", len(stdin))
}

// onlyAny says that the data hold an Any and nothing that an Any has no field for.
func onlyAny(a *known.Any, data []byte) bool {
	plain := known.Any{TypeUrl: a.TypeUrl, Value: a.Value}
	return a.TypeUrl != "" && plain.SizeVT() == len(data)
}

func (p *Params) take(params *api.BootstrapParams) {
	p.Structured = true
	p.MaxVersion = version3
	p.Debug = p.Debug || params.LogLevel <= api.LogLevel_LOG_LEVEL_DEBUG
	if params.ContainerdGrpcAddress != "" {
		p.GRPCAddress = params.ContainerdGrpcAddress
	}
	if params.ContainerdTtrpcAddress != "" {
		p.TTRPCAddress = params.ContainerdTtrpcAddress
	}
	if dir := params.GetSocketDir(); dir != "" {
		p.SocketDir = dir
	}
	for _, e := range params.Extensions {
		if a := e.GetValue(); a != nil && bundle.IsOptions(a) {
			p.Options = a
			return
		}
	}
}

// Answer is what `start` prints for this daemon. The address is a URL, unix:///path. Daemons from 1.7 to 2.2 would
// read JSON, too, but 1.7 refuses version 3 in it, nothing tells which of them asks, and a plain address says all
// that is left to say: version 2, ttrpc. A sandbox is different: it comes from 2.0 at the earliest, which
// gives its containers shims of their own where it is not of version 3.
func (p Params) Answer(address string) []byte {
	result := api.BootstrapResult{Version: version3, Address: address, Protocol: "ttrpc"}
	switch {
	case p.Structured:
		answer, _ := result.MarshalVT() // only a message within it could fail
		return answer
	case p.Sandbox:
		return fmt.Appendf(nil, `{"version":%d,"address":%q,"protocol":%q}`, result.Version, result.Address, result.Protocol)
	}
	return []byte(address)
}

// Address is the socket of the shim of this id, or group of containers. It is the same for the same daemon, which
// has several shims of one name where it has several namespaces.
func (p Params) Address(idOrGroup string) string {
	sum := sha256.Sum256([]byte(filepath.Join(p.GRPCAddress, p.Namespace, idOrGroup)))
	return fmt.Sprintf("%s%s/%x", scheme, p.SocketDir, sum)
}
