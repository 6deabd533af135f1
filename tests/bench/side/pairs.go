package side

import (
	"fmt"
	"io"
	"time"

	"github.com/gantry-containers/gantry/tests/bench/report"
)

// Pairs measures two sides turn by turn, n times each; the side that begins alternates. The first turn of each fills
// caches and does not count. It writes one line: the name, and where they were measured CPU and wall time in milliseconds
// with the ratio of the first side to the second.
func Pairs(out io.Writer, name string, n int, turns [2]func() Cost) {
	var cpu, wall [2][]float64
	for _, turn := range turns {
		turn()
	}
	for pair := range n {
		for turn := range 2 {
			i := (pair + turn) % 2
			c := turns[i]()
			cpu[i] = append(cpu[i], milliseconds(c.CPU))
			wall[i] = append(wall[i], milliseconds(c.Wall))
		}
	}
	columns := fmt.Sprintf("%40s", "-")
	if cpu[1][0] > 0 {
		columns = report.Columns(cpu)
	}
	fmt.Fprintf(out, "%-34s %4d  %s   %s\n", name, n, columns, report.Columns(wall))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
