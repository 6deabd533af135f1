package cgroup

import "github.com/gantry-containers/gantry/libcontainer/plan"

// instruction is struct bpf_insn on a little-endian machine, bpf.h.
type instruction struct {
	code      uint8
	registers uint8 // destination in the low four bits, source in the high ones
	offset    int16
	immediate int32
}

// The opcodes used, Documentation/bpf/standardization/instruction-set.rst.
const (
	opLoad32  = 0x61 // dst = *(u32 *)(src + offset)
	opMove32  = 0xb4 // dst = immediate, 32 bits
	opCopy32  = 0xbc // dst = src, 32 bits
	opAnd32   = 0x54 // dst &= immediate, 32 bits
	opShift32 = 0x74 // dst >>= immediate, 32 bits
	opSkipNE  = 0x56 // skip offset instructions when dst != immediate, 32 bits
	opSkipEQ  = 0x16 // skip offset instructions when dst == immediate, 32 bits
	opExit    = 0x95
)

// The registers: the verdict, the context that becomes scratch, and what is loaded
// from the context.
const (
	regVerdict = iota
	regContext
	regType
	regAccess
	regMajor
	regMinor
)

// Bits in bpf_cgroup_dev_ctx.access_type, bpf.h: what is wanted in the high half,
// the type of device in the low half.
const (
	accessMknod = 1 << iota
	accessRead
	accessWrite
	accessAll = accessMknod | accessRead | accessWrite

	deviceBlock = 1
	deviceChar  = 2
)

// deviceProgram compiles a default and its exceptions to a program of type
// BPF_PROG_TYPE_CGROUP_DEVICE with the meaning that they have on cgroup v1: an
// exception that allows must cover everything wanted, one that denies need only
// touch it (security/device_cgroup.c, devcgroup_legacy_check_permission).
func deviceProgram(allow bool, exceptions []plan.DeviceRule) []instruction {
	program := make([]instruction, 0, 8+8*len(exceptions))
	program = append(program,
		instruction{code: opLoad32, registers: regType | regContext<<4},
		instruction{code: opLoad32, registers: regMajor | regContext<<4, offset: 4},
		instruction{code: opLoad32, registers: regMinor | regContext<<4, offset: 8},
		instruction{code: opCopy32, registers: regAccess | regType<<4},
		instruction{code: opShift32, registers: regAccess, immediate: 16},
		instruction{code: opAnd32, registers: regType, immediate: 0xffff},
	)
	for i := range exceptions {
		program = appendException(program, &exceptions[i])
	}
	return appendVerdict(program, allow)
}

// appendException adds the tests of one rule; each that fails skips to its end.
func appendException(program []instruction, r *plan.DeviceRule) []instruction {
	start := len(program)
	kind := int32(deviceBlock)
	if r.Type == 'c' {
		kind = deviceChar
	}
	program = append(program, instruction{code: opSkipNE, registers: regType, immediate: kind})
	if r.Major >= 0 {
		program = append(program, instruction{code: opSkipNE, registers: regMajor, immediate: int32(uint32(r.Major))})
	}
	if r.Minor >= 0 {
		program = append(program, instruction{code: opSkipNE, registers: regMinor, immediate: int32(uint32(r.Minor))})
	}
	if access := accessBits(r.Access); access != accessAll {
		mask, miss := accessAll&^access, uint8(opSkipNE)
		if !r.Allow {
			mask, miss = access, opSkipEQ
		}
		program = append(program,
			instruction{code: opCopy32, registers: regContext | regAccess<<4},
			instruction{code: opAnd32, registers: regContext, immediate: mask},
			instruction{code: miss, registers: regContext},
		)
	}
	program = appendVerdict(program, r.Allow)
	for i := start; i < len(program); i++ {
		if op := program[i].code; op == opSkipNE || op == opSkipEQ {
			program[i].offset = int16(len(program) - i - 1)
		}
	}
	return program
}

func appendVerdict(program []instruction, allow bool) []instruction {
	verdict := instruction{code: opMove32, registers: regVerdict}
	if allow {
		verdict.immediate = 1
	}
	return append(program, verdict, instruction{code: opExit})
}

// accessBits translates the letters of a rule.
func accessBits(letters string) int32 {
	var bits int32
	for i := range len(letters) {
		switch letters[i] {
		case 'r':
			bits |= accessRead
		case 'w':
			bits |= accessWrite
		case 'm':
			bits |= accessMknod
		}
	}
	return bits
}
