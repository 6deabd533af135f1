package nameserver

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// ttl is how long an answer is good for: libnetwork's.
const ttl = 600

// header is the length of a message without questions.
const header = 12

// udpSize is what we say that we take.
const udpSize = 1232

// answer is what this server has to say to a message: a reply, nothing at all to what is no question, or that others
// have to be asked.
func (s *Server) answer(sb Sandbox, raw []byte, tcp bool) (reply []byte, forward bool) {
	if len(raw) < header || raw[2]&0x80 != 0 {
		return nil, false
	}
	if raw[2]>>3&0xf != dns.OpcodeQuery {
		return fail(raw, dns.RcodeNotImplemented), false
	}
	var q dns.Msg
	if err := q.Unpack(raw); err != nil || len(q.Question) != 1 {
		return fail(raw, dns.RcodeFormatError), false
	}
	asked := q.Question[0]
	records, ours := s.records(sb, asked)
	if !ours && len(sb.Upstream) > 0 && !sb.single(asked) {
		return nil, true
	}
	var r dns.Msg
	r.SetReply(&q)
	r.RecursionAvailable = true
	r.Answer = records
	if !ours && !sb.single(asked) {
		r.Rcode = dns.RcodeServerFailure
	}
	size := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		r.SetEdns0(udpSize, opt.Do())
		size = max(size, int(opt.UDPSize()))
	}
	if tcp {
		size = dns.MaxMsgSize
	}
	r.Truncate(size)
	reply, err := r.Pack()
	if err != nil {
		return fail(raw, dns.RcodeServerFailure), false
	}
	return reply, false
}

// single says that a client is to go on with its search list.
func (s Sandbox) single(q dns.Question) bool {
	return s.NdotsSet && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeAAAA) && !strings.Contains(strings.TrimSuffix(q.Name, "."), ".")
}

// records answer a question for what is ours. A name of ours has no others than addresses: nobody else is asked.
func (s *Server) records(sb Sandbox, q dns.Question) (list []dns.RR, ours bool) {
	if q.Qclass != dns.ClassINET {
		return nil, false
	}
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
	if a, ok := reversed(q.Name); ok {
		name := s.table.name(sb, a)
		if name == "" || q.Qtype != dns.TypePTR {
			return nil, name != ""
		}
		return []dns.RR{&dns.PTR{Hdr: head, Ptr: dns.Fqdn(name)}}, true
	}
	found, ours := s.table.find(sb, strings.TrimSuffix(q.Name, "."))
	for _, a := range found {
		switch {
		case a.Is4() && q.Qtype == dns.TypeA:
			list = append(list, &dns.A{Hdr: head, A: a.AsSlice()})
		case a.Is6() && q.Qtype == dns.TypeAAAA:
			list = append(list, &dns.AAAA{Hdr: head, AAAA: a.AsSlice()})
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list, ours
}

// reversed is the address that a name of in-addr.arpa or ip6.arpa stands for.
func reversed(name string) (netip.Addr, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		return reversedBytes(strings.Split(rest, "."), 10, 4)
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa"); ok {
		digits := strings.Split(rest, ".")
		if len(digits) != 32 {
			return netip.Addr{}, false
		}
		bytes := make([]string, 16)
		for i := range bytes {
			bytes[i] = digits[2*i+1] + digits[2*i]
			if len(bytes[i]) != 2 {
				return netip.Addr{}, false
			}
		}
		return reversedBytes(bytes, 16, 16)
	}
	return netip.Addr{}, false
}

func reversedBytes(words []string, base, size int) (netip.Addr, bool) {
	if len(words) != size {
		return netip.Addr{}, false
	}
	b := make([]byte, size)
	for i, word := range words {
		n, err := strconv.ParseUint(word, base, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[size-1-i] = byte(n)
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}

// fail answers a message with an error, and with its question if that can be read.
func fail(raw []byte, rcode int) []byte {
	asked := questionOf(raw)
	reply := make([]byte, header, header+len(asked))
	copy(reply, raw[:4])
	reply[2] |= 0x80
	reply[3] = 0x80 | byte(rcode)
	if asked != nil {
		reply[5] = 1
	}
	return append(reply, asked...)
}

// questionOf is the one question of a message, as it stands there; nil if there is another number of them, or none that
// can be read.
func questionOf(raw []byte) []byte {
	if len(raw) < header || binary.BigEndian.Uint16(raw[4:]) != 1 {
		return nil
	}
	for at := header; at < len(raw) && raw[at]&0xc0 == 0; at += 1 + int(raw[at]) {
		if raw[at] == 0 {
			if at+5 > len(raw) {
				return nil
			}
			return raw[header : at+5]
		}
	}
	return nil
}
