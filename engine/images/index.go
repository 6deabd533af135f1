package images

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
)

// index knows the manager's image records, and what was read about the content that they point to.
type index struct {
	mu       sync.RWMutex
	records  map[string]images.Image               // by name
	byTarget map[digest.Digest]map[string]struct{} // names
	facts    map[digest.Digest]*facts              // by target
	usage    map[digest.Digest]int64               // bytes of a snapshot, by chain id
	// spellings are those of the records' names.
	spellings map[string]spelling
	// live says that the manager's events are followed: what is here is what the manager has.
	live bool
	// writes counts changes that this process made to records, changes those of content and snapshots by anybody.
	writes, changes uint64
}

func newIndex() *index {
	return &index{
		records: map[string]images.Image{}, byTarget: map[digest.Digest]map[string]struct{}{},
		facts: map[digest.Digest]*facts{}, usage: map[digest.Digest]int64{},
		spellings: map[string]spelling{},
	}
}

func (x *index) isLive() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.live
}

func (x *index) setLive(live bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.live = live
}

// written is the count of own changes; replace and apply are told it to see whether they come too late.
func (x *index) written() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.writes
}

// replace makes a list that was asked for after `since` the whole truth. It says no when own changes came between.
func (x *index) replace(list []images.Image, since uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.writes != since {
		return false
	}
	clear(x.records)
	clear(x.byTarget)
	clear(x.facts)
	clear(x.usage)
	clear(x.spellings)
	x.changes++
	for _, img := range list {
		x.insert(img)
	}
	return true
}

// apply is put, or remove when img is nil, of what was asked for after `since`.
func (x *index) apply(name string, img *images.Image, since uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.writes != since {
		return false
	}
	x.drop(name)
	if img != nil {
		x.insert(*img)
	}
	return true
}

// put is an own change: a record is new or changed.
func (x *index) put(img images.Image) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writes++
	x.drop(img.Name)
	x.insert(img)
}

// remove is an own change: a record is gone.
func (x *index) remove(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writes++
	x.drop(name)
}

func (x *index) insert(img images.Image) {
	x.records[img.Name], x.spellings[img.Name] = img, spell(img.Name)
	set, ok := x.byTarget[img.Target.Digest]
	if !ok {
		set = map[string]struct{}{}
		x.byTarget[img.Target.Digest] = set
	}
	set[img.Name] = struct{}{}
	// Another record, or the same again, may mean that more of the content has come.
	if f := x.facts[img.Target.Digest]; f == nil || f.partial {
		x.forget(img.Target.Digest)
	}
}

func (x *index) drop(name string) {
	img, ok := x.records[name]
	if !ok {
		return
	}
	delete(x.records, name)
	delete(x.spellings, name)
	set := x.byTarget[img.Target.Digest]
	delete(set, name)
	if len(set) == 0 {
		delete(x.byTarget, img.Target.Digest)
		x.forget(img.Target.Digest)
	}
}

func (x *index) forget(target digest.Digest) {
	delete(x.facts, target)
	x.changes++
}

// touched forgets what depends on a blob or snapshot that came or went.
func (x *index) touched(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changes++
	delete(x.usage, digest.Digest(name))
	for target, f := range x.facts {
		if _, ok := f.depends[name]; ok {
			delete(x.facts, target)
		}
	}
}

// get is the record of a name.
func (x *index) get(name string) (images.Image, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	img, ok := x.records[name]
	return img, ok
}

// all is every record, by name.
func (x *index) all() []images.Image {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := slices.Collect(maps.Values(x.records))
	sortByName(list)
	return list
}

// targeting is the records that point to a digest, by name.
func (x *index) targeting(target digest.Digest) []images.Image {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := make([]images.Image, 0, len(x.byTarget[target]))
	for name := range x.byTarget[target] {
		list = append(list, x.records[name])
	}
	sortByName(list)
	return list
}

// beginning is the targets whose digest begins with these hexadecimal digits.
func (x *index) beginning(digits string) []digest.Digest {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var list []digest.Digest
	for target := range x.byTarget {
		if target.Algorithm() == digest.SHA256 && strings.HasPrefix(target.Encoded(), digits) {
			list = append(list, target)
		}
	}
	slices.Sort(list)
	return list
}

// known is what was read about a target, and the state of the world to hand to learn.
func (x *index) known(target digest.Digest) (*facts, uint64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.facts[target], x.changes
}

// learn keeps facts, unless something changed while they were gathered, or nothing tells when they change.
func (x *index) learn(target digest.Digest, f *facts, since uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, used := x.byTarget[target]; used && x.live && x.changes == since {
		x.facts[target] = f
	}
}

// snapshotSize is what was learned about a snapshot.
func (x *index) snapshotSize(chain digest.Digest) (size int64, known bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	size, known = x.usage[chain]
	return size, known
}

func (x *index) learnSnapshotSize(chain digest.Digest, size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.live {
		x.usage[chain] = size
	}
}

func sortByName(list []images.Image) {
	slices.SortFunc(list, func(a, b images.Image) int { return strings.Compare(a.Name, b.Name) })
}

// targets is the number of different images.
func (x *index) targets() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.byTarget)
}
