package faults_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// memory that an engine may have, in bytes: in the middle of a storm, and when it is over.
const (
	stormLimit = 400 << 20
	calmLimit  = 200 << 20
)

// TestStorm asks for the same things thousands of times at once, and wants all answered, and no memory kept for it.
// GANTRY_STORM is how many requests there are.
func TestStorm(t *testing.T) {
	s := start(t, docker.Setup{})
	for i := range number("GANTRY_STORM_CONTAINERS", 30) {
		if _, err := s.ContainerCreate(limited(t, patience), want("c-"+strconv.Itoa(i), "true")); err != nil {
			t.Fatal(err)
		}
	}
	before := s.rss()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			// A queue of connections that is full is the client's to wait for.
			for conn, err = net.Dial("unix", s.Socket()); err != nil && ctx.Err() == nil; conn, err = net.Dial("unix", s.Socket()) {
				time.Sleep(10 * time.Millisecond)
			}
			return conn, err
		},
		MaxIdleConnsPerHost: 100,
	}
	defer transport.CloseIdleConnections()
	peak := s.watchMemory()
	began := time.Now()
	var wg sync.WaitGroup
	ctx := limited(t, 2*time.Minute)
	paths := []string{"/_ping", "/version", "/info", "/containers/json?all=1", "/images/json", "/v1.40/containers/json?all=1&size=1", "/system/df"}
	var mu sync.Mutex
	failed := map[string]int{}
	n := number("GANTRY_STORM", 1500)
	for i := range n {
		wg.Go(func() {
			path := paths[i%len(paths)]
			if what := ask(ctx, transport, path); what != "" {
				mu.Lock()
				failed[path+": "+what]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	highest := peak()
	for what, n := range failed {
		t.Errorf("%d times: %s", n, what)
	}
	after := s.rss()
	harness.Until(patience, func() bool { after = s.rss(); return after < calmLimit })
	t.Logf("%d requests in %v; memory of the engine in MiB: %d before, %d at most, %d after", n, took.Round(time.Millisecond), before>>20, highest>>20, after>>20)
	if highest > stormLimit || after > calmLimit {
		t.Errorf("memory: %d MiB at most, %d after", highest>>20, after>>20)
	}
	s.nothing()
}

// ask is one request; it says what is wrong with the answer.
func ask(ctx context.Context, t http.RoundTripper, path string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := t.RoundTrip(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n == 0 || resp.StatusCode != http.StatusOK {
		return fmt.Sprintf("%s, %d bytes, %v", resp.Status, n, err)
	}
	return ""
}

// rss is the engine's memory in bytes.
func (s *subject) rss() int {
	s.t.Helper()
	fields := strings.Fields(string(read(filepath.Join("/proc", strconv.Itoa(s.Dockerd.PID()), "statm"))))
	if len(fields) < 2 {
		s.t.Fatal("no engine")
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// watchMemory looks at it until the function is called that tells the most.
func (s *subject) watchMemory() (peak func() int) {
	end, most := make(chan struct{}), make(chan int)
	go func() {
		highest := 0
		for {
			highest = max(highest, s.rss())
			select {
			case <-end:
				most <- highest
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int { close(end); return <-most }
}

// TestClientsThatMisbehave has clients that vanish, that never read and that never write, that send half of what they
// announced, too much, or nonsense. The engine answers what can be answered, and others meanwhile.
func TestClientsThatMisbehave(t *testing.T) {
	s := start(t, docker.Setup{})
	s.run(want("flood", "yes 0123456789012345678901234567890123456789012345678901234567890123456789"))
	echo := want("echo", "cat")
	echo.Config.OpenStdin = true
	s.run(echo)
	began := s.rss()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	send := func(text string) net.Conn {
		c, err := net.Dial("unix", s.Socket())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, text); err != nil {
			t.Logf("send: %v", err) // It may be refused before all of it is sent.
		}
		return c
	}
	const get, upgrade = "GET %s HTTP/1.1\r\nHost: d\r\n\r\n", "POST %s HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n"
	for range 20 {
		for _, path := range []string{"/containers/flood/logs?follow=1&stdout=1", "/events", "/containers/flood/stats", "/containers/flood/export", "/images/busybox:gantry/get"} {
			send(fmt.Sprintf(get, path)) // Never reads.
		}
		for _, path := range []string{"/containers/flood/attach?stream=1&stdout=1", "/containers/echo/attach?stream=1&stdin=1&stdout=1"} {
			send(fmt.Sprintf(upgrade, path)) // Never reads, never writes.
			send(fmt.Sprintf(upgrade, path)).Close()
		}
		send("POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"Im")
		send("POST /images/load HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf")
		send("GET /inf")
	}
	for name, c := range map[string]struct {
		text   string
		status int
	}{
		"huge header":   {"GET /_ping HTTP/1.1\r\nHost: d\r\nX-A: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		"no host":       {"GET /_ping HTTP/1.1\r\n\r\n", http.StatusBadRequest},
		"no HTTP":       {"hello, is anybody in?\r\n\r\n", http.StatusBadRequest}, // Less might still become HTTP/2.
		"no JSON":       {body("application/json", "nonsense"), http.StatusBadRequest},
		"two values":    {body("application/json", "{}{}"), http.StatusBadRequest},
		"other content": {body("text/plain", "{}"), http.StatusBadRequest},
		"wrong type":    {body("application/json", `{"Image":1}`), http.StatusBadRequest},
		"no such path":  {fmt.Sprintf(get, "/nothing"), http.StatusNotFound},
		"large body":    {body("application/json", `{"Image":"`+strings.Repeat("a", 17<<20)+`"}`), http.StatusBadRequest},
		"old version":   {fmt.Sprintf(get, "/v1.2/info"), http.StatusBadRequest},
		"new version":   {fmt.Sprintf(get, "/v9.9/info"), http.StatusBadRequest},
	} {
		if got := status(send(c.text)); got != c.status {
			t.Errorf("%s: status %d; want %d", name, got, c.status)
		}
	}
	for range 20 {
		if list, err := s.ContainerList(limited(t, patience), client.ContainerListOptions{}); err != nil || len(list.Items) != 2 {
			t.Errorf("ps: %d, %v", len(list.Items), err)
		}
	}
	s.exec("echo")
	s.attach("echo")
	if now := s.rss(); now > calmLimit {
		t.Errorf("memory: %d MiB, and %d before", now>>20, began>>20)
	}
	for _, c := range open {
		_ = c.Close()
	}
	s.nothing()
}

func body(kind, content string) string {
	return fmt.Sprintf("POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, len(content), content)
}

// status is that of an answer; 0 for none.
func status(c net.Conn) int {
	var b [64]byte
	n, _ := io.ReadFull(c, b[:])
	f := bytes.Fields(b[:n])
	if len(f) < 2 {
		return 0
	}
	code, _ := strconv.Atoi(string(f[1]))
	return code
}
