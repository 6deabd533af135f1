package stats

import (
	"os"
	"strconv"
	"strings"
)

// hugePages is where the kernel lists its page sizes, Documentation/admin-guide/mm/hugetlbpage.rst.
const hugePages = "/sys/kernel/mm/hugepages"

func hugetlbV1(f *source, s *Stats) {
	for _, size := range pageSizes() {
		kind := "hugetlb." + size
		if f.has(kind + ".rsvd.usage_in_bytes") {
			kind += ".rsvd"
		}
		if f.has(kind + ".usage_in_bytes") {
			s.Hugetlb[size] = Hugetlb{f.number(kind + ".usage_in_bytes"), f.number(kind + ".max_usage_in_bytes"), f.number(kind + ".failcnt")}
		}
	}
}

// hugetlbV2 reads cgroup-v2.rst "HugeTLB Interface Files".
func hugetlbV2(f *source, s *Stats) {
	for _, size := range pageSizes() {
		kind := "hugetlb." + size
		file := kind + ".rsvd.current"
		if !f.has(file) {
			file = kind + ".current"
		}
		if f.has(file) {
			s.Hugetlb[size] = Hugetlb{Usage: f.number(file), Failcnt: f.table(kind + ".events")["max"]}
		}
	}
}

// pageSizes are the sizes of huge pages as the names of cgroup files have them.
func pageSizes() []string {
	dirs, err := os.ReadDir(hugePages)
	if err != nil {
		return nil // a kernel without huge pages
	}
	var sizes []string
	for _, d := range dirs {
		kb, ok := strings.CutPrefix(d.Name(), "hugepages-")
		n, err := strconv.ParseUint(strings.TrimSuffix(kb, "kB"), 10, 64)
		if ok && err == nil {
			sizes = append(sizes, sizeName(n))
		}
	}
	return sizes
}

func sizeName(kb uint64) string {
	unit := 0
	for ; kb >= 1024 && kb%1024 == 0 && unit < 2; unit++ {
		kb /= 1024
	}
	return strconv.FormatUint(kb, 10) + [...]string{"KB", "MB", "GB"}[unit]
}
