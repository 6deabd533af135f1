package spec_test

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/blkiodev"
	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/spec"
)

func TestUpdate(t *testing.T) {
	all := api.UpdateConfig{
		Resources: api.Resources{
			BlkioWeight: 1, CPUShares: 2, CPUPeriod: 4, CPUQuota: 5, CPURealtimePeriod: 6, CPURealtimeRuntime: 7,
			CpusetCpus: "8", CpusetMems: "9", Memory: 10, MemorySwap: 11, MemoryReservation: 12, PidsLimit: new(int64(13)),
			BlkioWeightDevice: []*blkiodev.WeightDevice{}, BlkioDeviceReadBps: throttled(), BlkioDeviceWriteBps: throttled(),
			BlkioDeviceReadIOps: throttled(), BlkioDeviceWriteIOps: throttled(),
		},
		RestartPolicy: api.RestartPolicy{Name: "always"},
	}
	old := &api.HostConfig{Privileged: true}
	got, err := spec.Update("id", old, &all)
	if err != nil {
		t.Fatal(err)
	}
	want := &api.HostConfig{Privileged: true, Resources: all.Resources, RestartPolicy: all.RestartPolicy}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if d := cmp.Diff(&api.HostConfig{Privileged: true}, old); d != "" {
		t.Errorf("the record was changed in place: %s", d)
	}
	again, err := spec.Update("id", got, &api.UpdateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(got, again); d != "" {
		t.Errorf("an empty update changes something: %s", d)
	}
}

func TestUpdateRefuses(t *testing.T) {
	for want, tt := range map[string]struct {
		old api.HostConfig
		new api.UpdateConfig
	}{
		"Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set": {
			api.HostConfig{Resources: api.Resources{CPUPeriod: 1}}, api.UpdateConfig{Resources: api.Resources{NanoCPUs: 1}},
		},
		"Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set": {
			api.HostConfig{Resources: api.Resources{NanoCPUs: 1}}, api.UpdateConfig{Resources: api.Resources{CPUQuota: 1}},
		},
		"Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time": {
			api.HostConfig{Resources: api.Resources{MemorySwap: 1}}, api.UpdateConfig{Resources: api.Resources{Memory: 2}},
		},
		"Restart policy cannot be updated because AutoRemove is enabled for the container": {
			api.HostConfig{AutoRemove: true}, api.UpdateConfig{RestartPolicy: api.RestartPolicy{Name: "always"}},
		},
	} {
		_, err := spec.Update("abc", &tt.old, &tt.new)
		if err == nil || err.Error() != "Cannot update container abc: "+want || !errors.Is(err, errdefs.ErrConflict) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCheckUpdate(t *testing.T) {
	u := &api.UpdateConfig{Resources: api.Resources{PidsLimit: new(int64(-1)), BlkioDeviceReadBps: throttled(), MemorySwap: 9 << 20}}
	if _, err := spec.CheckUpdate("1.54", u, spec.Defaults{}, aMachine()); err != nil {
		t.Fatal(err)
	}
	if *u.PidsLimit != 0 || u.BlkioDeviceReadBps != nil {
		t.Errorf("1.54: pids %d, throttled %v", *u.PidsLimit, u.BlkioDeviceReadBps)
	}
	if _, err := spec.CheckUpdate("1.39", u, spec.Defaults{}, aMachine()); err != nil || u.PidsLimit != nil {
		t.Errorf("1.39: pids %v, %v", u.PidsLimit, err)
	}
	bad := &api.UpdateConfig{Resources: api.Resources{Memory: 1}}
	if _, err := spec.CheckUpdate("1.56", bad, spec.Defaults{}, aMachine()); err == nil || !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("too little memory: %v", err)
	}
}

func TestResources(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   api.Resources
		want specs.LinuxResources
	}{
		{"nothing", api.Resources{}, specs.LinuxResources{}},
		{
			"cpus win",
			api.Resources{NanoCPUs: 5e8, CPUPeriod: 1, CPUQuota: 2},
			specs.LinuxResources{CPU: &specs.LinuxCPU{Period: new(uint64(100000)), Quota: new(int64(50000))}},
		},
		{
			"memory",
			api.Resources{Memory: 5, MemorySwap: -1, MemoryReservation: 4, PidsLimit: new(int64(0))},
			specs.LinuxResources{
				Memory: &specs.LinuxMemory{Limit: new(int64(5)), Reservation: new(int64(4))},
				Pids:   &specs.LinuxPids{Limit: new(int64(-1))},
			},
		},
	} {
		got, err := spec.Resources(tt.in, paths{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&tt.want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, d)
		}
	}
}
