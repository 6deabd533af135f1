package libcontainer

import "testing"

func TestParseUser(t *testing.T) {
	for _, c := range []struct {
		in       string
		uid, gid uint32
		hasGID   bool
		bad      bool
	}{
		{in: "1", uid: 1},
		{in: "0", uid: 0},
		{in: "1:0", uid: 1, hasGID: true},
		{in: "0:1", gid: 1, hasGID: true},
		{in: "65534:1", uid: 65534, gid: 1, hasGID: true},
		{in: "4294967294", uid: 4294967294},
		{in: "01", bad: true},
		{in: "1x", bad: true},
		{in: "x", bad: true},
		{in: "-1", bad: true},
		{in: "+1", bad: true},
		{in: " 1", bad: true},
		{in: "1_0", bad: true},
		{in: "0x1", bad: true},
		{in: "4294967295", bad: true}, // "leave it" to the kernel
		{in: "4294967296", bad: true}, // 0 in 32 bits
		{in: "", bad: true},
		{in: ":", bad: true},
		{in: ":1", bad: true},
		{in: "1:", bad: true},
		{in: "1:x", bad: true},
		{in: "1:2:3", bad: true},
		{in: "root", bad: true},
	} {
		t.Run(c.in, func(t *testing.T) {
			uid, gid, hasGID, err := parseUser(c.in)
			if c.bad {
				if err == nil {
					t.Fatalf("was read as %d:%d", uid, gid)
				}
				return
			}
			if err != nil || uid != c.uid || gid != c.gid || hasGID != c.hasGID {
				t.Errorf("got %d, %d, %v, %v", uid, gid, hasGID, err)
			}
		})
	}
}
