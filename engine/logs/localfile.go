package logs

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// localCodec writes the messages of moby's daemon/logger/internal/logdriver/entry.proto, each between its own length,
// before and behind, as four bytes in big endian.
type localCodec struct {
	attrs []byte // encoded fields
}

// The fields of LogEntry, PartialLogEntryMetadata and LogAttr: number and wire type.
const (
	tagSource  = 1<<3 | 2
	tagTime    = 2 << 3
	tagLine    = 3<<3 | 2
	tagPartial = 4 << 3
	tagMeta    = 5<<3 | 2
	tagAttr    = 6<<3 | 2

	tagLast    = 1 << 3
	tagID      = 2<<3 | 2
	tagOrdinal = 3 << 3

	tagKey   = 1<<3 | 2
	tagValue = 2<<3 | 2
)

// lengthBytes is the size of a length.
const lengthBytes = 4

func newLocalCodec(attrs map[string]string) localCodec {
	sorted := make([]Attr, 0, len(attrs))
	for k, v := range attrs {
		sorted = append(sorted, Attr{k, v})
	}
	slices.SortFunc(sorted, func(a, b Attr) int { return cmp.Compare(a.Key, b.Key) })
	var b []byte
	for _, a := range sorted {
		one := appendField(nil, tagKey, []byte(a.Key))
		one = appendField(one, tagValue, []byte(a.Value))
		b = append(b, tagAttr)
		b = binary.AppendUvarint(b, uint64(len(one)))
		b = append(b, one...)
	}
	return localCodec{attrs: b}
}

// appendField adds bytes, unless they are empty: proto3 leaves those out.
func appendField(b []byte, tag byte, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendVarint(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, tag), v)
}

func (c localCodec) appendEntry(b []byte, e *Entry) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = appendField(b, tagSource, []byte(e.Source))
	b = appendVarint(b, tagTime, uint64(e.Time.UnixNano()))
	b = appendField(b, tagLine, e.Line)
	if p := e.Partial; p != nil {
		b = appendVarint(b, tagPartial, 1)
		var meta []byte
		if p.Last {
			meta = appendVarint(meta, tagLast, 1)
		}
		meta = appendField(meta, tagID, []byte(p.ID))
		meta = appendVarint(meta, tagOrdinal, uint64(p.Ordinal))
		b = append(b, tagMeta)
		b = binary.AppendUvarint(b, uint64(len(meta)))
		b = append(b, meta...)
	}
	b = append(b, c.attrs...)
	n := uint32(len(b) - start - lengthBytes)
	binary.BigEndian.PutUint32(b[start:], n)
	return binary.BigEndian.AppendUint32(b, n)
}

// repair walks the entries from the start when the last one is not whole: they cannot be found from the end then.
func (localCodec) repair(f readerAt, size int64) (int64, []byte, error) {
	if n, err := lastFrame(f, size); err != nil || n > 0 || size == 0 {
		return size, nil, err
	}
	var at int64
	for {
		n, err := nextFrame(f, at, size)
		if err != nil || n == 0 {
			return at, nil, err
		}
		at += n
	}
}

// lastFrame is the number of bytes of the entry that ends at end; zero when there is none.
func lastFrame(f readerAt, end int64) (int64, error) {
	if end < 2*lengthBytes {
		return 0, nil
	}
	var foot, head [lengthBytes]byte
	if _, err := f.ReadAt(foot[:], end-lengthBytes); err != nil {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint32(foot[:])) + 2*lengthBytes
	if n > end {
		return 0, nil
	}
	if _, err := f.ReadAt(head[:], end-n); err != nil {
		return 0, err
	}
	if head != foot {
		return 0, nil
	}
	return n, nil
}

// nextFrame is the number of bytes of the entry that begins at start; zero when there is no whole one before size.
func nextFrame(f readerAt, start, size int64) (int64, error) {
	if size-start < 2*lengthBytes {
		return 0, nil
	}
	var foot, head [lengthBytes]byte
	if _, err := f.ReadAt(head[:], start); err != nil {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint32(head[:])) + 2*lengthBytes
	if n > size-start {
		return 0, nil
	}
	if _, err := f.ReadAt(foot[:], start+n-lengthBytes); err != nil {
		return 0, err
	}
	if head != foot {
		return 0, nil
	}
	return n, nil
}
