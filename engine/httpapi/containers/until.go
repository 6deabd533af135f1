package containers

import (
	"errors"
	"time"

	"github.com/gantry-containers/gantry/engine/filters"
)

// until is the time of the filter of that name; zero when there is none.
func until(args filters.Args) (time.Time, error) {
	values := args.Values("until")
	switch len(values) {
	case 0:
		return time.Time{}, nil
	case 1:
		t, err := filters.Time(values[0], time.Now())
		return t.UTC(), err
	}
	return time.Time{}, errors.New("more than one until filter specified")
}
