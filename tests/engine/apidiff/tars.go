package apidiff

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
)

// file is an entry of an archive.
type file struct {
	name, content string
	kind          byte // tar.TypeReg when 0
}

func archive(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: f.kind, Mode: 0o644, Size: int64(len(f.content))}
		switch f.kind {
		case tar.TypeSymlink:
			h.Linkname, h.Size, f.content = f.content, 0, ""
		case tar.TypeDir:
			h.Mode = 0o755
		}
		_ = w.WriteHeader(h) // into memory
		_, _ = w.Write([]byte(f.content))
	}
	_ = w.Close()
	return b.Bytes()
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func dockerfile(text string) []byte { return archive(file{name: "Dockerfile", content: text}) }

// tars are the bodies of operations that take an archive, the best first.
func (o *Operation) tars() [][]byte {
	bad := [][]byte{{}, []byte("garbage"), bytes.Repeat([]byte{0}, 1024), zipped([]byte("garbage"))}
	switch o.String() {
	case "POST /build":
		good := dockerfile("FROM kept:1\nLABEL a=b\nENV C=d\n")
		return append([][]byte{
			dockerfile("FROM kept:1\n"), good, zipped(good), dockerfile(""), dockerfile("# nothing"), dockerfile("FROM"), dockerfile("FROM nosuch:local@"), dockerfile("FROM BAD"), dockerfile("RUN x"), dockerfile("NOTHING x\n"),
			dockerfile("FROM scratch\n"), dockerfile("FROM kept:1\nCOPY nosuch /\n"), dockerfile("FROM kept:1\nADD Dockerfile /x/\nWORKDIR /x\nUSER 1\nEXPOSE 80\nVOLUME /v\nSTOPSIGNAL INT\nHEALTHCHECK NONE\nSHELL [\"a\"]\nONBUILD RUN x\nMAINTAINER m\nENTRYPOINT [\"e\"]\nCMD c\n"),
			dockerfile("FROM kept:1 AS a\nFROM a\nLABEL x=y\n"), dockerfile("ARG V=1\nFROM kept:$V\nARG W\nLABEL w=$W\n"), dockerfile("FROM kept:1\nEXPOSE bad\n"), dockerfile("FROM kept:1\nRUN --mount=type=x true\n"), dockerfile("FROM kept:1\nCOPY --from=nosuch:x / /\n"), dockerfile("FROM kept:1\nLABEL\n"), dockerfile("FROM kept:1\nSTOPSIGNAL BAD\n"),
			archive(file{name: "other", content: "FROM kept:1\n"}), archive(file{name: "Dockerfile", kind: tar.TypeDir}), archive(file{name: "../Dockerfile", content: "FROM kept:1\n"}), archive(file{name: "Dockerfile", content: "/etc/passwd", kind: tar.TypeSymlink}),
			archive(file{name: "Dockerfile", content: "FROM kept:1\nCOPY x /\n"}, file{name: "x", content: "x"}, file{name: ".dockerignore", content: "x\n"}),
		}, bad...)
	case "POST /images/load":
		return append([][]byte{
			archive(file{name: "manifest.json", content: "[]"}), archive(file{name: "x", content: "x"}), archive(file{name: "manifest.json", content: "{bad"}),
			archive(file{name: "manifest.json", content: `[{"Config":"nosuch.json","RepoTags":["a:1"],"Layers":["nosuch.tar"]}]`}), archive(file{name: "oci-layout", content: `{"imageLayoutVersion":"1.0.0"}`}), archive(file{name: "oci-layout", content: `{"imageLayoutVersion":"1.0.0"}`}, file{name: "index.json", content: `{"schemaVersion":2,"manifests":[]}`}),
			archive(file{name: "repositories", content: "{}"}),
		}, bad...)
	case "PUT /containers/{id}/archive":
		return append([][]byte{archive(file{name: "f", content: "x"}), zipped(archive(file{name: "f", content: "x"})), archive(file{name: "../../f", content: "x"}), archive(file{name: "d", kind: tar.TypeDir}, file{name: "d/f", content: "x"}), archive(file{name: "passwd", kind: tar.TypeDir}), archive(file{name: "l", content: "/etc", kind: tar.TypeSymlink}, file{name: "l/passwd2", content: "x"})}, bad...)
	case "POST /images/create":
		return append([][]byte{archive(file{name: "f", content: "x"})}, bad...)
	}
	return nil
}
