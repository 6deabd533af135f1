package events

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// A cursor's file is written once, but for the number, which changes in place: eight bytes that lie in one page, so
// that no death of the writer leaves half of them.
//
//	magic             8 bytes
//	last number sent  8 bytes, little-endian
//	subscriber        its key, JSON
const (
	cursorMagic  = "gantryC2"
	cursorNumber = int64(len(cursorMagic))
	cursorFixed  = len(cursorMagic) + 8
)

// cursor is how far one subscriber is.
type cursor struct {
	file     *os.File
	key      string // its identity, in canonical form
	sent     uint64 // the last number on disk
	orphaned time.Time
}

// advance says on disk that everything up to sequence was sent.
func (c *cursor) advance(sequence uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], sequence)
	if _, err := c.file.WriteAt(b[:], cursorNumber); err != nil {
		if !errors.Is(err, os.ErrClosed) {
			slog.Warn("event log: a subscriber's place is not kept", "subscriber", c.key, "error", err)
		}
		return
	}
	c.sent = sequence
}

func (c *cursor) remove() {
	if err := os.Remove(c.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		slog.Warn("event log: an old cursor stays", "error", err)
	}
	c.file.Close()
}

// cursors are those of the subscribers that are here, and orphans: those of subscribers that may come back.
type cursors struct {
	dir     string
	name    uint64 // of the newest file
	live    map[*cursor]struct{}
	orphans []*cursor // the one that has seen least first
}

// identity is what tells subscribers apart.
type identity struct {
	Filters    []string `json:"filters"`
	Subscriber string   `json:"subscriber,omitempty"`
}

// key is one spelling for the same filters in any order. Filters are alternatives: order and repetition mean nothing.
func (i identity) key() string {
	sorted := slices.Clone(i.Filters)
	slices.Sort(sorted)
	i.Filters = slices.Compact(sorted)
	if i.Filters == nil {
		i.Filters = []string{}
	}
	b, _ := json.Marshal(i) // strings have no error
	return string(b)
}

// openCursors reads what an earlier manager left; all of them are orphans. What is no cursor is removed: its writer
// died before the subscription began.
func openCursors(dir string) (cursors, error) {
	cs := cursors{dir: dir, live: map[*cursor]struct{}{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return cs, err
	}
	for _, e := range entries {
		name, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil || !e.Type().IsRegular() {
			continue
		}
		cs.name = max(cs.name, name)
		c, err := openCursor(filepath.Join(dir, e.Name()))
		if err != nil {
			slog.Warn("event log: removing what is no cursor", "file", e.Name(), "error", err)
			os.Remove(filepath.Join(dir, e.Name()))
			continue
		}
		cs.orphan(c)
	}
	return cs, nil
}

func openCursor(path string) (*cursor, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	c, err := readCursor(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	c.file = f
	return c, nil
}

func readCursor(r io.Reader) (*cursor, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if len(data) < cursorFixed || string(data[:len(cursorMagic)]) != cursorMagic {
		return nil, errGarbage
	}
	var who identity
	if err := json.Unmarshal(data[cursorFixed:], &who); err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	return &cursor{key: who.key(), sent: binary.LittleEndian.Uint64(data[cursorNumber:])}, nil
}

// create begins a cursor for a subscriber that has seen everything up to sent.
func (cs *cursors) create(key string, sent uint64) (*cursor, error) {
	cs.name++
	f, err := os.OpenFile(filepath.Join(cs.dir, strconv.FormatUint(cs.name, 10)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	c := &cursor{file: f, key: key, sent: sent}
	data := binary.LittleEndian.AppendUint64([]byte(cursorMagic), sent)
	if _, err := f.Write(append(data, key...)); err != nil {
		c.remove()
		return nil, err
	}
	cs.live[c] = struct{}{}
	return c, nil
}

// adopt gives the orphan with this key that has seen least, or nil.
func (cs *cursors) adopt(key string) *cursor {
	i := slices.IndexFunc(cs.orphans, func(c *cursor) bool { return c.key == key })
	if i < 0 {
		return nil
	}
	c := cs.orphans[i]
	cs.orphans = slices.Delete(cs.orphans, i, i+1)
	cs.live[c] = struct{}{}
	return c
}

// orphan keeps the cursor for a subscriber with the same key.
func (cs *cursors) orphan(c *cursor) {
	delete(cs.live, c)
	c.orphaned = time.Now()
	i, _ := slices.BinarySearchFunc(cs.orphans, c, func(a, b *cursor) int {
		if a.sent <= b.sent { // behind those that have seen as much
			return -1
		}
		return 1
	})
	cs.orphans = slices.Insert(cs.orphans, i, c)
}

// end removes the cursor of a subscriber that wants no more.
func (cs *cursors) end(c *cursor) {
	delete(cs.live, c)
	c.remove()
}

// expire removes the orphans that are to go, with a warning.
func (cs *cursors) expire(why string, gone func(*cursor) bool) {
	cs.orphans = slices.DeleteFunc(cs.orphans, func(c *cursor) bool {
		if !gone(c) {
			return false
		}
		slog.Warn("event log: a lost subscriber's place is given up", "subscriber", c.key, "last", c.sent, "reason", why)
		c.remove()
		return true
	})
}

func (cs *cursors) highest() uint64 {
	var n uint64
	for _, c := range cs.orphans {
		n = max(n, c.sent)
	}
	return n
}

// close lets go of all, and leaves the files for the next manager.
func (cs *cursors) close() {
	for c := range cs.live {
		c.file.Close()
	}
	for _, c := range cs.orphans {
		c.file.Close()
	}
}

// keepOrphan keeps the cursor for a subscriber that is expected back, and sees to its expiry. The lock is held.
func (l *Log) keepOrphan(c *cursor) {
	l.cursors.orphan(c)
	l.armExpiry(l.config.Orphans)
}

func (l *Log) armExpiry(after time.Duration) {
	if l.expiry != nil {
		l.expiry.Stop()
	}
	l.expiry = time.AfterFunc(after, func() { l.expireOrphans(time.Now()) })
}

// expireOrphans gives up the places that nobody has come back for.
func (l *Log) expireOrphans(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.cursors.expire("it has not come back", func(c *cursor) bool { return now.Sub(c.orphaned) >= l.config.Orphans })
	oldest := now
	for _, c := range l.cursors.orphans {
		if c.orphaned.Before(oldest) {
			oldest = c.orphaned
		}
	}
	if len(l.cursors.orphans) > 0 {
		l.armExpiry(l.config.Orphans - now.Sub(oldest))
	}
}

// expireOvertaken gives up the places that the log no longer has. The lock is held.
func (l *Log) expireOvertaken() {
	oldest := l.segments[0].first
	l.cursors.expire("the log no longer has what follows it", func(c *cursor) bool { return c.sent+1 < oldest })
}
