package ports

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is what a pipe holds.
const pipeSize = 64 << 10

// spare is how many empty pipes are kept: connections that wait have none.
const spare = 8

// pipe carries bytes of one direction of a connection.
type pipe struct{ out, in int }

func (p *pipe) close() {
	unix.Close(p.out)
	if p.in >= 0 {
		unix.Close(p.in)
	}
}

// pipes are the empty ones.
type pipes []*pipe

func (s *pipes) borrow() (*pipe, error) {
	if n := len(*s); n > 0 {
		p := (*s)[n-1]
		*s = (*s)[:n-1]
		return p, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe", err)
	}
	return &pipe{out: fds[0], in: fds[1]}, nil
}

// giveBack takes an empty pipe. One that came from another process without its way in is of no more use.
func (s *pipes) giveBack(p *pipe) {
	if len(*s) >= spare || p.in < 0 {
		p.close()
		return
	}
	*s = append(*s, p)
}
