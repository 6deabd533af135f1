package task

import (
	"context"
	"fmt"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
)

func (s *Service) resizePty(_ context.Context, r *task.ResizePtyRequest) (*known.Empty, error) {
	p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	if io := p.stdio(); io != nil {
		if err := io.Resize(r.Width, r.Height); err != nil {
			return nil, fmt.Errorf("resize the terminal: %w", err)
		}
	}
	return &known.Empty{}, nil
}

// closeIO ends the process's input.
func (s *Service) closeIO(_ context.Context, r *task.CloseIORequest) (*known.Empty, error) {
	p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	if r.Stdin {
		if err := p.closeStdin(); err != nil {
			return nil, fmt.Errorf("close stdin: %w", err)
		}
	}
	return &known.Empty{}, nil
}
