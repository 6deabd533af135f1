package plan_test

import (
	"flag"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/libcontainer/plan/plantest"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// updating reports whether the test was started with -update.
func updating() bool { return flag.Lookup("update").Value.String() == "true" }

func TestGolden(t *testing.T) {
	for _, c := range plantest.Load(t, "testdata") {
		t.Run(c.Name, func(t *testing.T) {
			if c.Exec == nil && c.Mounts == nil {
				if problems := validate.Spec(c.Spec, c.Facts); len(problems) > 0 {
					t.Errorf("the config never gets here: %v", problems)
				}
			}
			if updating() {
				if err := c.Update(); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(c.Want, c.Text()); diff != "" {
				t.Errorf("the plan changed; if it should, run again with -update (-want +got):\n%s", diff)
			}
		})
	}
}
