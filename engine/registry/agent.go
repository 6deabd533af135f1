package registry

import "strings"

// userAgent is the engine's, with the client's in a comment: registries count by both.
func (s *settings) userAgent(client string) string {
	ua := s.UserAgent
	if client == "" {
		return ua
	}
	var b strings.Builder
	for _, c := range []byte(client) {
		switch {
		case strings.IndexByte(`();\`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\t', c >= 0x20 && c != 0x7f:
			b.WriteByte(c)
		}
	}
	return strings.TrimSpace(ua + " UpstreamClient(" + b.String() + ")")
}
