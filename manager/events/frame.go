package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
	"unicode/utf8"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"
)

// A frame is a header and a body, all numbers little-endian:
//
//	length of the body  4 bytes
//	CRC-32C of the body 4 bytes
//	body: sequence 8, seconds 8, nanoseconds 4, then namespace, topic, type URL and value, each with its length in 4
//
// A zero length is no frame, so that a hole in the file is not read as records.
const (
	headerSize = 8
	fixedSize  = 8 + 8 + 4
	minBody    = fixedSize + 4*4
	maxBody    = 4 << 20 // what a gRPC client takes in one message by default
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errTorn    = errors.New("record is cut off")
	errGarbage = errors.New("not a record")
)

// appendFrame appends the frame of r to b. Too large an event, or one that no subscriber could be sent, is
// errdefs.ErrInvalidArgument.
func appendFrame(b []byte, r Record) ([]byte, error) {
	typeURL, value := "", []byte(nil)
	if r.Event != nil {
		typeURL, value = r.Event.GetTypeUrl(), r.Event.GetValue()
	}
	if !utf8.ValidString(typeURL) {
		return b, fmt.Errorf("type of the event is not UTF-8: %w", errdefs.ErrInvalidArgument)
	}
	body := minBody + len(r.Namespace) + len(r.Topic) + len(typeURL) + len(value)
	if body > maxBody {
		return b, fmt.Errorf("event of %d bytes, more than %d: %w", body, maxBody, errdefs.ErrInvalidArgument)
	}
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(body))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, r.Sequence)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Timestamp.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Timestamp.Nanosecond()))
	for _, s := range []string{r.Namespace, r.Topic, typeURL} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
	b = append(b, value...)
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(b[start+headerSize:], castagnoli))
	return b, nil
}

// frameSize is how many bytes the frame at the start of b takes. It needs the header only.
func frameSize(b []byte) (int, error) {
	if len(b) < headerSize {
		return 0, errTorn
	}
	n := binary.LittleEndian.Uint32(b)
	if n < minBody || n > maxBody {
		return 0, fmt.Errorf("length %d: %w", n, errGarbage)
	}
	return headerSize + int(n), nil
}

// frameBody is the body of the frame at the start of b, after its checksum was found right.
func frameBody(b []byte) ([]byte, error) {
	size, err := frameSize(b)
	if err != nil {
		return nil, err
	}
	if len(b) < size {
		return nil, errTorn
	}
	body := b[headerSize:size]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, fmt.Errorf("checksum: %w", errGarbage)
	}
	return body, nil
}

func bodySequence(body []byte) uint64 { return binary.LittleEndian.Uint64(body) }

// splitBody finds namespace, topic, type URL and value in a body.
func splitBody(body []byte) (fields [4][]byte, err error) {
	rest := body[fixedSize:]
	for i := range fields {
		if len(rest) < 4 {
			return fields, fmt.Errorf("field %d: %w", i, errGarbage)
		}
		n := uint64(binary.LittleEndian.Uint32(rest))
		rest = rest[4:]
		if n > uint64(len(rest)) {
			return fields, fmt.Errorf("field %d of %d bytes: %w", i, n, errGarbage)
		}
		fields[i], rest = rest[:n], rest[n:]
	}
	if len(rest) != 0 {
		return fields, fmt.Errorf("%d bytes after the last field: %w", len(rest), errGarbage)
	}
	return fields, nil
}

// decodeFrame reads the record at the start of b, and its size there. The record keeps nothing of b.
func decodeFrame(b []byte) (Record, int, error) {
	body, err := frameBody(b)
	if err != nil {
		return Record{}, 0, err
	}
	fields, err := splitBody(body)
	if err != nil {
		return Record{}, 0, err
	}
	seconds := int64(binary.LittleEndian.Uint64(body[8:]))
	nanos := binary.LittleEndian.Uint32(body[16:])
	return Record{
		Sequence: bodySequence(body),
		Envelope: &events.Envelope{
			Timestamp: time.Unix(seconds, int64(nanos)).UTC(),
			Namespace: string(fields[0]),
			Topic:     string(fields[1]),
			Event:     &anypb.Any{TypeUrl: string(fields[2]), Value: append([]byte(nil), fields[3]...)},
		},
	}, headerSize + len(body), nil
}

// scan counts the records at the start of data, whose numbers must go on from first, and their bytes. The error says
// what is wrong with the rest of data, if there is one.
func scan(data []byte, first uint64) (count uint64, size int64, bad error) {
	for len(data) > 0 {
		body, err := frameBody(data)
		if err == nil {
			_, err = splitBody(body)
		}
		if err != nil {
			return count, size, err
		}
		if n := bodySequence(body); n != first+count {
			return count, size, fmt.Errorf("number %d where %d belongs: %w", n, first+count, errGarbage)
		}
		count++
		size += int64(headerSize + len(body))
		data = data[headerSize+len(body):]
	}
	return count, size, nil
}
