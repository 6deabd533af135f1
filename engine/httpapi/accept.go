package httpapi

import (
	"context"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types"
)

// jsonStreams are the names of a stream of JSON values, those that are preferred first.
var jsonStreams = []string{types.MediaTypeJSONLines, types.MediaTypeNDJSON, types.MediaTypeJSONSequence}

// JSONStream is the content type of a stream of JSON values: what the client names in Accept, or else that of its API
// version. Wildcards name nothing.
func JSONStream(ctx context.Context, r *http.Request) string {
	best, bestQ := types.MediaTypeJSONLines, 0.0
	if Before(ctx, "1.52") {
		best = types.MediaTypeJSON
	}
	accepted := qualities(r.Header.Values("Accept"))
	for _, offer := range jsonStreams {
		if q := accepted[offer]; q > bestQ {
			best, bestQ = offer, q
		}
	}
	return best
}

// qualities reads an Accept header: media types and how much they are liked, 1 at most.
func qualities(headers []string) map[string]float64 {
	found := map[string]float64{}
	for _, h := range headers {
		for one := range strings.SplitSeq(h, ",") {
			kind, params, err := mime.ParseMediaType(one)
			if err != nil {
				continue
			}
			q := 1.0
			if s, ok := params["q"]; ok {
				if q, err = strconv.ParseFloat(s, 64); err != nil {
					continue
				}
			}
			found[kind] = max(found[kind], min(q, 1))
		}
	}
	return found
}
