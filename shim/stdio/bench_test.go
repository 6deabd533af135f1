package stdio

import (
	"io"
	"os"
	"testing"
)

// BenchmarkOutput compares a stream with a loop of read and write, from a process to a fifo's reader.
func BenchmarkOutput(b *testing.B) {
	for name, size := range map[string]int{"64KiB": 64 << 10, "4KiB": page, "100B": 100} {
		data := make([]byte, size)
		b.Run("stream/"+name, func(b *testing.B) {
			spec := Spec{Stdout: mkfifo(b, "out")}
			r := openEnd(b, spec.Stdout, os.O_RDONLY)
			o := open(b, spec)
			_, out, _ := o.Files()
			w := dup(b, out)
			start(b, o)
			pump(b, w, r, data)
		})
		for bufName, bufSize := range map[string]int{"4KiB": page, "64KiB": 64 << 10} {
			b.Run("readwrite-by-"+bufName+"/"+name, func(b *testing.B) {
				path := mkfifo(b, "out")
				r := openEnd(b, path, os.O_RDONLY)
				w := openEnd(b, path, os.O_WRONLY)
				src, end, err := pipeFrom(Spec{})
				if err != nil {
					b.Fatal(err)
				}
				go func() {
					// The types hide ReadFrom and WriteTo, which would splice.
					_, _ = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, make([]byte, bufSize))
					w.Close()
					src.Close()
				}()
				pump(b, end, r, data)
			})
		}
	}
}

// pump writes the data b.N times while another goroutine reads.
func pump(b *testing.B, w, r *os.File, data []byte) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
		}
	}()
	b.SetBytes(int64(len(data)))
	b.ResetTimer()
	for b.Loop() {
		if _, err := w.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	w.Close()
	<-done
}
