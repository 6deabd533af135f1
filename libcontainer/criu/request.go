package criu

import "strconv"

// Type is what a request asks for, and a response answers.
type Type int

// The types that are used, with the numbers of CRIU's rpc.proto.
const (
	Dump         Type = 1
	Restore      Type = 2
	PreDump      Type = 4
	notifyType   Type = 6
	featureCheck Type = 9
	versionType  Type = 10
)

// String is the type's name in rpc.proto.
func (t Type) String() string {
	switch t {
	case Dump:
		return "DUMP"
	case Restore:
		return "RESTORE"
	case PreDump:
		return "PRE_DUMP"
	case notifyType:
		return "NOTIFY"
	case featureCheck:
		return "FEATURE_CHECK"
	case versionType:
		return "VERSION"
	}
	return strconv.Itoa(int(t))
}

// CgroupMode is what CRIU does about cgroups.
type CgroupMode int

// The modes: one more than in rpc.proto, so that zero can leave it to CRIU.
const (
	CgroupsIgnore CgroupMode = 1
	CgroupsSoft   CgroupMode = 4
	CgroupsFull   CgroupMode = 5
	CgroupsStrict CgroupMode = 6
)

// Options are what requests to dump and restore have in common, criu_opts of rpc.proto.
// Zero leaves a field out. Descriptors are the caller's, but those of InheritFDs CRIU's.
type Options struct {
	ImagesDirFD, WorkDirFD, StatusFD int
	LogFile                          string // in WorkDirFD, or ImagesDirFD without
	LogLevel                         int
	ConfigFile                       string // with options that override these

	PID         int
	Root        string
	ParentImage string // relative to ImagesDirFD
	PageServer  string // address
	PagePort    int

	LeaveRunning, TrackMemory, AutoDedup, LazyPages bool
	ExtUnixSockets, ShellJob, FileLocks, LinkRemap  bool
	TCPEstablished, TCPSkipInFlight, TCPClose       bool
	NotifyScripts, OrphanPtsMaster, EvasiveDevices  bool
	RestoreSibling                                  bool // make the restored process the caller's child

	FreezeCgroup  string // absolute directory
	ManageCgroups bool
	CgroupMode    CgroupMode
	CgroupRoots   []Pair // controllers and the cgroups instead of the dumped ones

	ExternalMounts []Pair // dump: mount points and keys; restore: keys and sources
	External       []string
	InheritFDs     []InheritedFD
	JoinNamespaces []Pair // kinds and files
	EmptyNS        uint   // CLONE_NEW* flags

	LSMProfile, LSMMountContext string
}

// Pair is two strings: what they are says the field.
type Pair struct{ Key, Value string }

// InheritedFD is a descriptor of CRIU that a restored process gets for what had been dumped
// under a key.
type InheritedFD struct {
	Key string
	FD  int
}

// encode is the message criu_opts.
func (o *Options) encode() message {
	var m message
	m.integer(1, o.ImagesDirFD, true)
	m.integer(2, o.PID, false)
	m.flag(3, o.LeaveRunning)
	m.flag(4, o.ExtUnixSockets)
	m.flag(5, o.TCPEstablished)
	m.flag(6, o.EvasiveDevices)
	m.flag(7, o.ShellJob)
	m.flag(8, o.FileLocks)
	m.integer(9, o.LogLevel, false)
	m.text(10, o.LogFile)
	if o.PageServer != "" {
		var server message
		server.text(1, o.PageServer)
		server.integer(2, o.PagePort, true)
		m.bytes(11, server)
	}
	m.flag(12, o.NotifyScripts)
	m.text(13, o.Root)
	m.text(14, o.ParentImage)
	m.flag(15, o.TrackMemory)
	m.flag(16, o.AutoDedup)
	m.integer(17, o.WorkDirFD, false)
	m.flag(18, o.LinkRemap)
	m.pairs(23, o.ExternalMounts)
	m.flag(24, o.ManageCgroups)
	m.pairs(25, o.CgroupRoots)
	m.flag(26, o.RestoreSibling)
	for _, f := range o.InheritFDs {
		var inherit message
		inherit.text(1, f.Key)
		inherit.integer(2, f.FD, true)
		m.bytes(27, inherit)
	}
	if o.CgroupMode != 0 {
		m.integer(34, int(o.CgroupMode)-1, true)
	}
	for _, e := range o.External {
		m.text(37, e)
	}
	m.integer(38, int(o.EmptyNS), false)
	m.pairs(39, o.JoinNamespaces)
	m.text(44, o.FreezeCgroup)
	m.flag(46, o.TCPSkipInFlight)
	m.flag(48, o.LazyPages)
	m.integer(49, o.StatusFD, false)
	m.flag(50, o.OrphanPtsMaster)
	m.text(51, o.ConfigFile)
	m.flag(52, o.TCPClose)
	m.text(53, o.LSMProfile)
	m.text(63, o.LSMMountContext)
	return m
}
