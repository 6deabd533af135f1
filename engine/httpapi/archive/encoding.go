package archive

import (
	"strconv"
	"strings"
)

// offers are the encodings that bodies can be sent in, the better ones first.
var offers = []string{"gzip", "deflate"}

// negotiate picks an encoding by Accept-Encoding, as moby does; identity when the client names none of ours.
func negotiate(header []string) string {
	quality := map[string]float64{}
	for part := range strings.SplitSeq(strings.Join(header, ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(strings.TrimSpace(v), 64); err != nil {
				continue
			}
		}
		quality[strings.ToLower(strings.TrimSpace(name))] = q
	}
	best, bestQuality := "identity", 0.0
	for _, offer := range offers {
		q, named := quality[offer]
		if !named {
			q = quality["*"]
		}
		if q > bestQuality {
			best, bestQuality = offer, q
		}
	}
	return best
}
