package spec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/fault"
)

// cdiDriver is the name of the driver that knows devices by descriptions of their makers
// (https://github.com/cncf-tags/container-device-interface).
const cdiDriver = "cdi"

// gpuVendors make GPUs. What follows a name are capabilities that a request may ask for, beside "gpu".
var gpuVendors = []struct {
	name         string
	capabilities []string
}{
	{"nvidia.com", []string{"nvidia", "compute", "compat32", "graphics", "utility", "video", "display"}},
	{"amd.com", []string{"amd"}},
}

// deviceRequests gives the container the devices that are asked for by name, number or what they can do: all of them by
// CDI, the only driver here.
func deviceRequests(in *Input, s *specs.Spec) error {
	for _, r := range in.Container.HostConfig.DeviceRequests {
		names, err := deviceNames(in, r)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			continue
		}
		if _, err := in.CDI.InjectDevices(s, names...); err != nil {
			return fmt.Errorf("CDI device injection failed: %w", err)
		}
	}
	return nil
}

// deviceNames are the CDI names of devices.
func deviceNames(in *Input, r api.DeviceRequest) ([]string, error) {
	switch {
	case r.Driver == cdiDriver && r.Count != 0:
		return nil, invalid("unexpected count in CDI device request")
	case r.Driver == cdiDriver && len(r.Options) > 0:
		return nil, invalid("unexpected options in CDI device request")
	case r.Driver == cdiDriver:
		return r.DeviceIDs, nil
	}
	vendor, known := gpuVendor(in.CDI, r.Capabilities)
	switch {
	case r.Driver != "" || !known:
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "could not select device driver %q with capabilities: %v", r.Driver, r.Capabilities)
	case vendor == "":
		return nil, errors.New("failed to discover GPU vendor from CDI: no known GPU vendor found")
	case r.Count != 0 && len(r.DeviceIDs) > 0:
		return nil, errors.New("cannot set both Count and DeviceIDs on device request")
	}
	ids := r.DeviceIDs
	if r.Count < 0 {
		ids = []string{"all"}
	}
	for n := range r.Count {
		ids = append(ids, strconv.Itoa(n))
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		if names[i] = id; !strings.Contains(id, "=") {
			names[i] = vendor + "/gpu=" + id
		}
	}
	return names, nil
}

// gpuVendor finds whose GPUs this machine has; empty for none. Capabilities are sets, one of which must be had in whole;
// it is not known when none is of a GPU.
func gpuVendor(cdi CDI, wanted [][]string) (vendor string, known bool) {
	have, can := cdi.ListVendors(), []string{"gpu", "amd"}
	for _, v := range gpuVendors {
		if slices.Contains(have, v.name) {
			vendor, can = v.name, append([]string{"gpu"}, v.capabilities...)
			break
		}
	}
	return vendor, slices.ContainsFunc(wanted, func(set []string) bool {
		return !slices.ContainsFunc(set, func(c string) bool { return !slices.Contains(can, c) })
	})
}
