package registry

import (
	"encoding/json"
	"io"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/progress"
)

const goarch = runtime.GOARCH

func digestOf(b []byte) digest.Digest { return digest.FromBytes(b) }

func contains(list []string, wanted string) bool { return slices.Contains(list, wanted) }

func contentLabels(t *testing.T, m *manager, desc ocispec.Descriptor) map[string]string {
	t.Helper()
	info, err := m.db.ContentStore().Info(m.context(t), desc.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return info.Labels
}

func chainID(t *testing.T, s *server, m ocispec.Manifest) string {
	t.Helper()
	var config ocispec.Image
	if err := json.Unmarshal(s.blobs[m.Config.Digest.String()], &config); err != nil {
		t.Fatal(err)
	}
	return identity.ChainID(config.RootFS.DiffIDs).String()
}

func newProgress(out io.Writer) *progress.Writer { return progress.NewWriter(out) }

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
