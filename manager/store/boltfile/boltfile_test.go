package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

// sample makes a database with nested, inline and overflowing contents, in two transactions, and returns its bytes and
// what is in it.
func sample(t testing.TB, options *bolt.Options) ([]byte, map[string]string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := bolt.Open(path, 0o600, options)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for round := range 2 {
		if err := db.Update(func(tx *bolt.Tx) error { return grow(tx, round, want) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data, want
}

// grow adds to the sample.
func grow(tx *bolt.Tx, round int, want map[string]string) error {
	for i := range 40 {
		top, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "top-%d", i%4))
		if err != nil {
			return err
		}
		name := fmt.Sprintf("bucket-%02d-%d", i, round)
		b, err := top.CreateBucket([]byte(name))
		if err != nil {
			return err
		}
		for j := range i {
			key, value := fmt.Sprintf("key-%03d", j), strings.Repeat("v", 7*i*j%900)
			want[fmt.Sprintf("top-%d/%s/%s", i%4, name, key)] = value
			if err := b.Put([]byte(key), []byte(value)); err != nil {
				return err
			}
		}
	}
	if round == 0 {
		return nil
	}
	long := strings.Repeat("long", 5000)
	want["top-0//long"] = long
	return tx.Bucket([]byte("top-0")).Put([]byte("long"), []byte(long))
}

type collect map[string]string

func (c collect) Bucket([][]byte, []byte, uint64) error { return nil }

func (c collect) Value(path [][]byte, key, value []byte) error {
	in := string(bytes.Join(path, []byte("/")))
	if len(path) == 1 {
		in += "/"
	}
	c[in+"/"+string(key)] = string(value)
	return nil
}

func trees(t testing.TB, data []byte) []Tree {
	t.Helper()
	all, err := Trees(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWalkFindsEverything(t *testing.T) {
	for name, options := range map[string]*bolt.Options{
		"freelist on disk": {},
		"no freelist":      {NoFreelistSync: true},
		"small pages":      {PageSize: 1024},
		"large pages":      {PageSize: 16 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			data, want := sample(t, options)
			all := trees(t, data)
			if len(all) != 2 || all[0].Txid != all[1].Txid+1 {
				t.Errorf("trees: %+v", all)
			}
			got := collect{}
			problems, err := all[0].Walk(got)
			if err != nil || len(problems) > 0 {
				t.Errorf("walk: %v %v", problems, err)
			}
			if diff := cmp.Diff(want, map[string]string(got)); diff != "" {
				t.Errorf("contents (-want +got):\n%s", diff)
			}
		})
	}
}

// reseal makes the checksum of a meta page right again, whose page was changed.
func reseal(data []byte, at int) {
	sum := fnv.New64a()
	sum.Write(data[at+16 : at+16+56])
	binary.NativeEndian.PutUint64(data[at+16+56:], sum.Sum64())
}

func TestDamageIsFound(t *testing.T) {
	whole, _ := sample(t, &bolt.Options{PageSize: 4096})
	root := func(data []byte) int { return int(trees(t, data)[0].root) * 4096 }
	tests := map[string]func(data []byte) []byte{
		"cut in the middle": func(d []byte) []byte { return d[:len(d)/4] },
		"cut inside a page": func(d []byte) []byte { return d[:trees(t, d)[0].Used()-100] },
		"root is zero": func(d []byte) []byte {
			at := root(d)
			clear(d[at : at+4096])
			return d
		},
		"root has another number": func(d []byte) []byte {
			binary.NativeEndian.PutUint64(d[root(d):], 77)
			return d
		},
		"root has more keys than fit": func(d []byte) []byte {
			binary.NativeEndian.PutUint16(d[root(d)+10:], 60000)
			return d
		},
		"root overflows": func(d []byte) []byte {
			binary.NativeEndian.PutUint32(d[root(d)+12:], 1<<31)
			return d
		},
		"key beyond the page": func(d []byte) []byte {
			binary.NativeEndian.PutUint32(d[root(d)+16+4:], 1<<30)
			return d
		},
		"bucket of a bucket is itself": func(d []byte) []byte {
			// The first record of the root is a bucket with a page of its own: let that be the root.
			at := root(d) + 16
			pos := int(binary.NativeEndian.Uint32(d[at+4:]) + binary.NativeEndian.Uint32(d[at+8:]))
			binary.NativeEndian.PutUint64(d[at+pos:], uint64(root(d)/4096))
			return d
		},
		"root page beyond the end": func(d []byte) []byte {
			for _, at := range []int{0, 4096} {
				binary.NativeEndian.PutUint64(d[at+16+16:], 1<<39)
				reseal(d, at)
			}
			return d
		},
		"freelist names a used page": func(d []byte) []byte {
			tree := trees(t, d)[0]
			at := int(tree.freelist) * 4096
			binary.NativeEndian.PutUint16(d[at+10:], 1)
			binary.NativeEndian.PutUint64(d[at+16:], tree.root)
			return d
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			data := damage(bytes.Clone(whole))
			if problems := trees(t, data)[0].Check(); len(problems) == 0 {
				t.Error("nothing was found")
			}
		})
	}
}

func TestNoMeta(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty": nil, "short": make([]byte, 10), "zeros": make([]byte, 32<<10), "text": bytes.Repeat([]byte("text"), 5000),
	} {
		if _, err := Trees(bytes.NewReader(data), int64(len(data))); !errors.Is(err, ErrNoMeta) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneMetaIsEnough(t *testing.T) {
	whole, want := sample(t, &bolt.Options{PageSize: 4096})
	last := trees(t, whole)[0]
	for _, at := range []int{0, 4096} {
		data := bytes.Clone(whole)
		data[at+20] ^= 1
		all := trees(t, data)
		if len(all) != 1 {
			t.Fatalf("page %d: %d trees", at/4096, len(all))
		}
		if all[0].Txid != last.Txid {
			continue // the other meta page: what it reaches is the sample's first transaction, in part overwritten
		}
		got := collect{}
		if problems, err := all[0].Walk(got); err != nil || len(problems) > 0 || len(got) != len(want) {
			t.Errorf("%v %v: %d of %d", problems, err, len(got), len(want))
		}
	}
}

// FuzzCheck: whatever passes the check, bbolt can open and read to the end; whatever doesn't is refused without a panic.
func FuzzCheck(f *testing.F) {
	data, _ := sample(f, &bolt.Options{PageSize: 1024, NoFreelistSync: true})
	data = data[:trees(f, data)[0].Used()]
	f.Add(uint32(0), uint64(0))
	f.Add(uint32(1024+16), uint64(1))
	f.Fuzz(func(t *testing.T, at uint32, change uint64) {
		damaged := bytes.Clone(data)
		at %= uint32(len(damaged) - 8) //nolint:gosec // some kilobytes
		binary.NativeEndian.PutUint64(damaged[at:], binary.NativeEndian.Uint64(damaged[at:])^change)
		all, err := Trees(bytes.NewReader(damaged), int64(len(damaged)))
		if err != nil || len(all[0].Check()) > 0 {
			return
		}
		path := filepath.Join(t.TempDir(), "b.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}()
		if at < 2*1024 {
			return // bbolt's check cares for the heads of meta pages, which bbolt itself does not read
		}
		if err := db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				t.Error(err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
