package keeper

import (
	"net"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// Argument is the first argument of the hidden mode.
const Argument = "keeper"

// Main is the keeper process: it serves the socket of a state folder until it has nothing to keep. It returns the exit
// status.
func Main(args []string) int { return outlive.Main(Argument, args, run) }

func run(p outlive.Process) error {
	k, err := New(p.Dir, outlive.Build())
	if err != nil {
		return err
	}
	l, err := listener(k, p.TakeOver)
	if err != nil {
		return err
	}
	p.Ready()
	return k.Serve(l)
}

func listener(k *Keeper, takeOver bool) (*net.UnixListener, error) {
	if takeOver {
		return k.takeOver()
	}
	return outlive.Listen(Socket(k.dir))
}
