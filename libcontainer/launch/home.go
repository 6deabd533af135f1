package launch

import (
	"bytes"
	"strconv"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// findHome puts HOME=… where the child's environment points. A user without an entry
// in /etc/passwd lives in "/", as in runc.
func (p *Process) findHome(a *plan.FindHome) {
	scratch := p.arena.scratch()
	passwd := scratch[homeSize:]
	if end := bytes.IndexByte(passwd, 0); end >= 0 {
		passwd = passwd[:end]
	}
	home := "HOME=" + HomeOf(passwd, a.UID)
	if len(home) >= homeSize {
		home = "HOME=/"
	}
	n := copy(scratch, home)
	scratch[n] = 0
}

// HomeOf finds the home directory of a numeric user id in the text of /etc/passwd,
// passwd(5); "/" for one that is not there. Names are never
// looked at: a user called "1000" is not user 1000 (CVE-2016-3697).
func HomeOf(passwd []byte, uid uint32) string {
	want := strconv.FormatUint(uint64(uid), 10)
	for line := range bytes.SplitSeq(passwd, []byte{'\n'}) {
		fields := bytes.SplitN(line, []byte{':'}, 7)
		if len(fields) == 7 && string(fields[2]) == want && len(fields[5]) > 0 {
			return string(fields[5])
		}
	}
	return "/"
}
