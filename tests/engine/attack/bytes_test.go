package attack_test

import (
	"archive/tar"
	"bytes"
	"io"
)

// archive is a tar archive of files.
func (v *victim) archive(files map[string]string) io.Reader {
	v.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}); err != nil {
			v.t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			v.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		v.t.Fatal(err)
	}
	return &b
}

func readAll(r io.ReadCloser) string {
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(b)
}
