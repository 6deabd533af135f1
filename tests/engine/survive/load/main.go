// Command load is what tests/engine/survive asks an engine's networks with. It has three modes:
//
//	load serve ADDRESS              says again what it is told, over TCP
//	load connect RATE ADDRESS...    connects, so many times a second, in turn; and holds a connection to each all the time
//	load look-up RATE SERVER NAME=IP...  asks for names, so many times a second, in turn: one datagram, without another try
//
// The last two write a line ten times a second, "DONE FAILED SLOWEST", and to stderr what has failed. They end, with a last
// line, at the end of their standard input.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// patience is how long an answer may take: as long as the machine needs, but not for ever.
const patience = time.Minute

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "serve" {
		return serve(args[1])
	}
	if len(args) < 3 {
		return errors.New("usage: load serve|connect|look-up ARGUMENTS")
	}
	rate, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	l := &load{}
	switch targets := args[2:]; args[0] {
	case "connect":
		for _, address := range targets {
			go l.hold(address)
		}
		l.run(rate, func(n uint64) error { return connect(targets[n%uint64(len(targets))]) })
	case "look-up":
		server, names := targets[0], targets[1:]
		l.run(rate, func(n uint64) error { return lookUp(server, names[n%uint64(len(names))]) })
	default:
		return fmt.Errorf("mode %q", args[0])
	}
	return nil
}

func serve(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(conn, conn) // whose client is gone needs no answer
			_ = conn.Close()
		}()
	}
}

// load counts.
type load struct {
	begun, done, failed atomic.Uint64
	slowest             atomic.Int64
}

// run does something again and again.
func (l *load) run(rate int, do func(n uint64) error) {
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it
		close(end)
	}()
	tick, report := time.NewTicker(time.Second/time.Duration(rate)), time.NewTicker(time.Second/10)
	var wg sync.WaitGroup
	for {
		select {
		case <-tick.C:
			n := l.begun.Add(1)
			wg.Go(func() { l.one(func() error { return do(n) }) })
		case <-report.C:
			l.report()
		case <-end:
			wg.Wait()
			l.report()
			return
		}
	}
}

func (l *load) one(do func() error) {
	began := time.Now()
	if err := do(); err != nil {
		l.fail(err)
		return
	}
	l.done.Add(1)
	for took := int64(time.Since(began)); ; {
		if last := l.slowest.Load(); took <= last || l.slowest.CompareAndSwap(last, took) {
			return
		}
	}
}

func (l *load) fail(err error) {
	if l.failed.Add(1) <= 20 {
		fmt.Fprintln(os.Stderr, time.Now().Format(time.StampMilli), err)
	}
}

func (l *load) report() {
	fmt.Println(l.done.Load(), l.failed.Load(), time.Duration(l.slowest.Load()).Round(time.Millisecond))
}

// connect makes a connection and has a word said again.
func connect(address string) error {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	return echo(conn, bufio.NewReader(conn), "hello")
}

func echo(conn net.Conn, r *bufio.Reader, word string) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(conn, word); err != nil {
		return err
	}
	if got, err := r.ReadString('\n'); err != nil || got != word+"\n" {
		return fmt.Errorf("%v: read %q: %w", conn.RemoteAddr(), got, err)
	}
	return nil
}

// hold talks over one connection as long as the process lives.
func (l *load) hold(address string) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		l.fail(err)
		return
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for n := 0; ; n++ {
		if err := echo(conn, r, strconv.Itoa(n)); err != nil {
			l.fail(fmt.Errorf("the connection that is held: %w", err))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lookUp asks for a name's address, which is known.
func lookUp(server, target string) error {
	name, want, _ := strings.Cut(target, "=")
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
	client := dns.Client{Timeout: patience}
	answer, _, err := client.Exchange(q, server)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, record := range answer.Answer {
		if a, ok := record.(*dns.A); ok && a.A.String() == want {
			return nil
		}
	}
	return fmt.Errorf("%s: %s, %v", name, dns.RcodeToString[answer.Rcode], answer.Answer)
}
