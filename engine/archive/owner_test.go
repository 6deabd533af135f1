package archive

import (
	"io/fs"
	"syscall"
)

func ownerOf(info fs.FileInfo) [2]int {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return [2]int{-1, -1}
	}
	return [2]int{int(st.Uid), int(st.Gid)}
}
