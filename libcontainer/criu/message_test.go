package criu

import (
	"reflect"
	"testing"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/google/go-cmp/cmp"
)

// TestOptionsSpeakRPCProto has go-criu read what we write: every field, each with a value
// that no other has.
func TestOptionsSpeakRPCProto(t *testing.T) {
	o := &Options{
		ImagesDirFD: 5, WorkDirFD: 6, StatusFD: 7, LogFile: "log", LogLevel: 4, ConfigFile: "config", PID: 8, Root: "root", ParentImage: "parent",
		PageServer: "address", PagePort: 9, FreezeCgroup: "freeze", CgroupMode: CgroupsStrict,
		CgroupRoots: []Pair{{"cpu", "/c"}, {"", "/v2"}}, ExternalMounts: []Pair{{"k", "v"}}, External: []string{"e", "f"},
		InheritFDs: []InheritedFD{{"i", 0}, {"j", 300}}, JoinNamespaces: []Pair{{"ipc", "/ns"}}, EmptyNS: 0x40000000, LSMProfile: "profile", LSMMountContext: "context",
	}
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Bool {
			f.SetBool(true)
		} else if f.IsZero() {
			t.Errorf("%s is not tested", v.Type().Field(i).Name)
		}
	}
	yes := true
	number := func(n int32) *int32 { return &n }
	want := &rpc.CriuOpts{
		ImagesDirFd: number(5), WorkDirFd: number(6), StatusFd: number(7), LogFile: new("log"), LogLevel: number(4), ConfigFile: new("config"), Pid: number(8), Root: new("root"),
		ParentImg: new("parent"), Ps: &rpc.CriuPageServerInfo{Address: new("address"), Port: number(9)},
		LeaveRunning: &yes, TrackMem: &yes, AutoDedup: &yes, LazyPages: &yes, ExtUnixSk: &yes, ShellJob: &yes, FileLocks: &yes, LinkRemap: &yes,
		TcpEstablished: &yes, TcpSkipInFlight: &yes, TcpClose: &yes, NotifyScripts: &yes, OrphanPtsMaster: &yes, EvasiveDevices: &yes, RstSibling: &yes,
		FreezeCgroup: new("freeze"), ManageCgroups: &yes, ManageCgroupsMode: new(rpc.CriuCgMode_STRICT),
		CgRoot: []*rpc.CgroupRoot{{Ctrl: new("cpu"), Path: new("/c")}, {Ctrl: new(""), Path: new("/v2")}},
		ExtMnt: []*rpc.ExtMountMap{{Key: new("k"), Val: new("v")}}, External: []string{"e", "f"},
		InheritFd: []*rpc.InheritFd{{Key: new("i"), Fd: number(0)}, {Key: new("j"), Fd: number(300)}},
		JoinNs:    []*rpc.JoinNamespace{{Ns: new("ipc"), NsFile: new("/ns")}}, EmptyNs: new(uint32(0x40000000)),
		LsmProfile: new("profile"), LsmMountContext: new("context"),
	}
	var got rpc.CriuReq
	if err := got.UnmarshalVT((&Call{Type: PreDump, Options: o}).request()); err != nil {
		t.Fatal(err)
	}
	if got.GetType() != rpc.CriuReqType_PRE_DUMP || !reflect.DeepEqual(want, got.GetOpts()) {
		t.Errorf("type %v\ngot  %+v\nwant %+v", got.GetType(), got.GetOpts(), want)
	}
}

func TestNamesAndModesAreThoseOfRPCProto(t *testing.T) {
	for _, kind := range []Type{Dump, Restore, PreDump, notifyType, featureCheck, versionType} {
		if want := rpc.CriuReqType(kind).String(); kind.String() != want {
			t.Errorf("type %d is called %s, want %s", kind, kind, want)
		}
	}
	for mode, want := range map[CgroupMode]rpc.CriuCgMode{
		CgroupsIgnore: rpc.CriuCgMode_IGNORE, CgroupsSoft: rpc.CriuCgMode_SOFT, CgroupsFull: rpc.CriuCgMode_FULL, CgroupsStrict: rpc.CriuCgMode_STRICT,
	} {
		if rpc.CriuCgMode(mode-1) != want {
			t.Errorf("mode %d is not %v", mode, want)
		}
	}
}

// TestResponsesOfRPCProto reads what go-criu writes.
func TestResponsesOfRPCProto(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name string
		resp *rpc.CriuResp
		want Response
	}{
		{"restored", &rpc.CriuResp{Success: &yes, Type: new(rpc.CriuReqType_RESTORE), Restore: &rpc.CriuRestoreResp{Pid: new(int32(77777))}}, Response{Type: Restore, Success: true, PID: 77777}},
		{"refused", &rpc.CriuResp{Success: &no, Type: new(rpc.CriuReqType_DUMP), CrErrno: new(int32(-3)), CrErrmsg: new("why")}, Response{Type: Dump, Errno: -3, Text: "why"}},
		{"notify", &rpc.CriuResp{Success: &yes, Type: new(rpc.CriuReqType_NOTIFY), Notify: &rpc.CriuNotify{Script: new("post-restore"), Pid: new(int32(4))}}, Response{Type: notifyType, Success: true, script: "post-restore", PID: 4}},
		{"features", &rpc.CriuResp{Success: &yes, Type: new(rpc.CriuReqType_FEATURE_CHECK), Features: &rpc.CriuFeatures{MemTrack: &no, LazyPages: &yes, PidfdStore: &yes}}, Response{Type: featureCheck, Success: true, features: map[Feature]bool{MemoryTracking: false, LazyPages: true, 3: true}}},
		{"version", &rpc.CriuResp{Success: &yes, Type: new(rpc.CriuReqType_VERSION), Version: &rpc.CriuVersion{MajorNumber: new(int32(4)), MinorNumber: new(int32(2)), Sublevel: new(int32(1)), Name: new("Crane")}}, Response{Type: versionType, Success: true, version: 40201}},
		{"between versions", &rpc.CriuResp{Success: &yes, Type: new(rpc.CriuReqType_VERSION), Version: &rpc.CriuVersion{MajorNumber: new(int32(4)), MinorNumber: new(int32(2)), Sublevel: new(int32(1)), Gitid: new("v4.2-1")}}, Response{Type: versionType, Success: true, version: 40300}},
		{"what is not used", &rpc.CriuResp{Success: &yes, Type: new(rpc.CriuReqType_DUMP), Dump: &rpc.CriuDumpResp{Restored: &yes}, Status: new(int32(1)), Ps: &rpc.CriuPageServerInfo{Address: new("x")}}, Response{Type: Dump, Success: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := c.resp.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			got, err := decode(b)
			if diff := cmp.Diff(&c.want, got, cmp.AllowUnexported(Response{})); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			for n := range b { // cut short anywhere it is refused, or a shorter message
				_, _ = decode(b[:n])
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{8, 6, 16, 1, 42, 4, 10, 2, 'a', 'b'})
	f.Fuzz(func(t *testing.T, b []byte) {
		resp, err := decode(b)
		var theirs rpc.CriuResp
		if theirs.UnmarshalVT(b) != nil || err != nil {
			return // they check more: required fields, wire types
		}
		if resp.Success != theirs.GetSuccess() {
			t.Errorf("success %v, go-criu reads %v", resp.Success, theirs.GetSuccess())
		}
	})
}
