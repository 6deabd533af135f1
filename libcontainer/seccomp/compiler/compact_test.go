//go:build cgo

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/seccomp/profile"
)

// sameAnswers compares a program before and after compact, for every
// architecture, every number that the program tells apart from its
// neighbours, and arguments on both sides of the constants that it knows.
func sameAnswers(t *testing.T, json string, random *rand.Rand) (before, after int) {
	t.Helper()
	s, err := profile.Decode([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	code, archs, err := translate(s)
	if err != nil {
		t.Fatal(err)
	}
	small := compact(code, archs)
	old, young := encode(code), encode(small)
	starts := rangeStarts(code)
	values := []uint64{0, 1 << 32, 1<<64 - 1}
	for _, i := range code {
		if i.isBranch() && !slices.Contains(values, uint64(i.k)) {
			values = append(values, uint64(i.k), uint64(i.k)+1, uint64(i.k)-1, uint64(i.k)<<32)
		}
	}
	for _, arch := range append([]uint32{0, 1, 0xffffffff, unix.AUDIT_ARCH_RISCV64}, archs...) {
		for _, number := range starts {
			for range 6 {
				c := call{arch: arch, number: number}
				for i := range c.args {
					c.args[i] = values[random.IntN(len(values))]
				}
				if got, want := run(t, young, c), run(t, old, c); got != want {
					t.Fatalf("%+v answers %#x, want %#x, in\n%s", c, got, want, json)
				}
			}
		}
	}
	return len(code), len(small)
}

func TestCompactChangesNoAnswer(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	before, after := sameAnswers(t, dockerProfile(t), random)
	if after > before/2 {
		t.Errorf("Docker's profile shrinks from %d to %d instructions only", before, after)
	}
	compared := 0
	for range 100 {
		json := randomProfile(random)
		if _, err := compile([]byte(json)); err != nil {
			continue // libseccomp refuses some rules that overlap
		}
		sameAnswers(t, json, random)
		compared++
	}
	if compared < 50 {
		t.Errorf("libseccomp refused all but %d random profiles", compared)
	}
}

// randomProfile is a checked profile of some 20 calls: each has one rule for
// several arguments, or several for one. More overlap than that makes
// libseccomp 2.5.4 run for ever.
func randomProfile(random *rand.Rand) string {
	names := []string{
		"read", "open", "mkdir", "clone", "socket", "ioctl", "prctl", "kcmp", "futex", "openat2", "socketcall", "set_tls", "dup3",
		"personality", "mmap", "fcntl", "ptrace", "mount", "kill", "bpf", "keyctl", "unshare", "setns", "chown", "chmod", "lseek",
	}
	actions := []string{"ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "TRAP", "LOG", "TRACE"}
	operators := []string{"EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"}
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	arg := func(index int, operator string) string {
		return fmt.Sprintf(`{"index": %d, "op": "SCMP_CMP_%s", "value": %d, "valueTwo": %d}`,
			index, operator, random.Uint64N(9)<<(random.Uint64N(2)*31), random.Uint64N(9))
	}
	var rules []string
	rule := func(name, action string, args []string) {
		rules = append(rules, fmt.Sprintf(`{"names": ["%s"], "action": "SCMP_ACT_%s", "args": [%s]}`, name, action, strings.Join(args, ",")))
	}
	for _, name := range names {
		action := pick(actions)
		switch random.IntN(3) {
		case 0:
			index := random.IntN(6)
			for range 1 + random.IntN(8) {
				rule(name, action, []string{arg(index, "EQ")})
			}
		case 1:
			var args []string
			for _, index := range random.Perm(6)[:random.IntN(4)] {
				args = append(args, arg(index, pick(operators)))
			}
			rule(name, action, args)
		}
	}
	archs := []string{"X86_64", "X86", "X32", "ARM", "AARCH64"}
	random.Shuffle(len(archs), func(i, j int) { archs[i], archs[j] = archs[j], archs[i] })
	return fmt.Sprintf(`{"defaultAction": "SCMP_ACT_%s", "architectures": ["SCMP_ARCH_%s"], "syscalls": [%s]}`,
		pick(actions), strings.Join(archs[:1+random.IntN(5)], `", "SCMP_ARCH_`), strings.Join(rules, ","))
}

func TestJumpsOverManyRules(t *testing.T) {
	var rules []string
	for i := range 300 {
		rules = append(rules, fmt.Sprintf(`{"names": ["kcmp"], "action": "SCMP_ACT_ERRNO", "errnoRet": %d, "args": [{"index": %d, "op": "SCMP_CMP_EQ", "value": %d}]}`, i+1, i%6, 1000+i))
	}
	before, after := sameAnswers(t, `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [`+strings.Join(rules, ",")+`]}`, rand.New(rand.NewPCG(3, 4)))
	if after < 300 {
		t.Errorf("%d instructions became %d, too few for the rules", before, after)
	}
}

func TestAProgramOfAnotherFormStaysAsItIs(t *testing.T) {
	allowed := instruction{ret, 0, 0, unix.SECCOMP_RET_ALLOW}
	killed := instruction{ret, 0, 0, unix.SECCOMP_RET_KILL_THREAD}
	arch, number := instruction{loadWord, 0, 0, dataArch}, instruction{loadWord, 0, 0, dataNumber}
	pad := []instruction{killed, killed, killed, killed, killed, killed, killed, killed}
	tests := []struct {
		name string
		code []instruction
	}{
		{"a bit test of the number", []instruction{arch, {jumpEqual, 0, 3, 7}, number, {jumpBits, 0, 1, 4}, allowed, killed}},
		{"arithmetic on the number", []instruction{arch, {jumpEqual, 0, 4, 7}, number, {unix.BPF_ALU | unix.BPF_AND, 0, 0, 1}, {jumpEqual, 0, 1, 1}, allowed, killed}},
		{"an order among architectures", []instruction{arch, {jumpAtLeast, 0, 1, 7}, allowed, killed}},
		{"an architecture outside the list", []instruction{arch, {jumpEqual, 0, 1, 8}, allowed, killed}},
		{"rules for foreign architectures' numbers", []instruction{number, {jumpEqual, 0, 1, 8}, allowed, killed}},
		{"a comparison of nothing", []instruction{{jumpEqual, 0, 1, 0}, allowed, killed}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code := append(slices.Clone(tt.code), pad...)
			if diff := cmp.Diff(code, compact(code, []uint32{7}), cmp.AllowUnexported(instruction{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("and one that is as small as it can be", func(t *testing.T) {
		code := []instruction{allowed}
		if diff := cmp.Diff(code, compact(code, []uint32{7}), cmp.AllowUnexported(instruction{})); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("while one that holds needless instructions shrinks", func(t *testing.T) {
		code := append([]instruction{arch, {jumpEqual, 0, 1, 7}, allowed, killed}, pad...)
		if n := len(compact(code, []uint32{7})); n != 4 {
			t.Errorf("got %d instructions, want 4", n)
		}
	})
}
