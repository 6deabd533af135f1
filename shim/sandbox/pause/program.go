package pause

import (
	"encoding/binary"
	"runtime"
)

// code is the machine code, a view of this binary's text. It may be loaded anywhere.
func code() []byte

// pause and end are the first instruction and what follows the last; code looks them up.
func pause() //nolint:unused // used in assembler
func end()   //nolint:unused // used in assembler

// address is where the program is loaded: as low as vm.mmap_min_addr allows, and a multiple of all page sizes.
const address = 0x10000

// machines are the values of e_machine (elf(5), /usr/include/elf.h).
var machines = map[string]uint16{"amd64": 62, "arm64": 183, "riscv64": 243}

// header is that of a 64-bit ELF file with one segment, and that segment's (elf(5)).
type header struct {
	Magic                                   [4]byte
	Class, Data, IdentVersion, ABI          uint8
	Padding                                 [8]byte
	Type, Machine                           uint16
	Version                                 uint32
	Entry, SegmentOffset, SectionOffset     uint64
	Flags                                   uint32
	Size, SegmentSize, Segments             uint16
	SectionSize, Sections, SectionNameIndex uint16

	SegmentType, SegmentFlags           uint32
	Offset, VirtualAddr, PhysicalAddr   uint64
	SizeInFile, SizeInMemory, Alignment uint64
}

const (
	headerSize = 64 // of the file's part of header, in bytes
	totalSize  = headerSize + 56
)

// Program returns the program as a static executable for this architecture.
func Program() ([]byte, error) {
	text := code()
	size := uint64(totalSize + len(text))
	file, err := binary.Append(make([]byte, 0, size), binary.LittleEndian, header{
		Magic: [4]byte{0x7f, 'E', 'L', 'F'}, Class: 2, Data: 1, IdentVersion: 1, // 64 bits, little-endian
		Type: 2, Machine: machines[runtime.GOARCH], Version: 1, // an executable at a fixed address
		Entry: address + totalSize, SegmentOffset: headerSize, Size: headerSize, SegmentSize: totalSize - headerSize, Segments: 1,
		SegmentType: 1, SegmentFlags: 4 | 1, // loaded; readable and executable
		VirtualAddr: address, PhysicalAddr: address, SizeInFile: size, SizeInMemory: size, Alignment: address,
	})
	return append(file, text...), err
}
