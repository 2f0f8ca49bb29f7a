// Package proxytest has the clients and targets of the tests of proxies.
package proxytest

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bothends/bothends/internal/errno"
)

// GiveUp limits a test that waits for something that does not happen.
const GiveUp = 20 * time.Second

// A Conn is a *net.TCPConn or a *net.UnixConn.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Target listens on TCP, and runs handle on each connection until the test is over.
func Target(t testing.TB, handle func(*net.TCPConn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, ln, func(c Conn) { handle(c.(*net.TCPConn)) })
	return ln.Addr().String()
}

// Serve runs handle on each connection of a listener until the test is over.
func Serve(t testing.TB, ln net.Listener, handle func(Conn)) {
	served := make(chan struct{})
	go func() {
		defer close(served)
		var handling sync.WaitGroup
		defer handling.Wait()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			handling.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(GiveUp))
				handle(c.(Conn))
			})
		}
	}()
	t.Cleanup(func() { ln.Close(); <-served })
}

// Answers sends a reply to n octets, and then FIN.
func Answers(reply string, n int) func(*net.TCPConn) {
	answer := AnswersAny(reply, n)
	return func(c *net.TCPConn) { answer(c) }
}

// AnswersAny is Answers for any connection.
func AnswersAny(reply string, n int) func(Conn) {
	return func(c Conn) {
		if _, err := io.ReadFull(c, make([]byte, n)); err == nil {
			io.WriteString(c, reply)
		}
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}
}

// HowItEnds reads to the end, and returns how that came: fin, reset or silence.
func HowItEnds(t testing.TB, c net.Conn) (octets, how string) {
	t.Helper()
	var b strings.Builder
	_, err := io.Copy(&b, c)
	switch {
	case err == nil:
		return b.String(), "fin"
	case errno.Reset.Has(err):
		return b.String(), "reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return b.String(), "silence"
	}
	t.Fatal(err)
	return "", ""
}

// Ask sends four octets to an address, and returns the reply and how it ends.
func Ask(t testing.TB, address string) (reply, how string) {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.Dial(network, address)
	if err != nil {
		return "", err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(GiveUp))
	io.WriteString(c, "ping")
	return HowItEnds(t, c)
}

// FreeAddress returns an address at which no program listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// ListensAt reports whether a program listens at a TCP address.
func ListensAt(address string) bool {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return !errno.Refused.Has(err)
}
