package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func read(t *testing.T, c net.Conn, want string, wantErr error) {
	t.Helper()
	p := make([]byte, 64)
	n, err := c.Read(p)
	if string(p[:n]) != want || !errors.Is(err, wantErr) {
		t.Errorf("Read = %q, %v; want %q, %v", p[:n], err, want, wantErr)
	}
}

func TestReadReturnsOneWrite(t *testing.T) {
	a, b := Pipe()
	a.Write([]byte("abc"))
	a.Write([]byte("de"))
	a.CloseWrite()
	p := make([]byte, 2)
	n, _ := b.Read(p)
	if n != 2 {
		t.Fatalf("short buffer: %d octets", n)
	}
	read(t, b, "c", nil)
	read(t, b, "de", nil)
	read(t, b, "", io.EOF)
	b.Write([]byte("back"))
	read(t, a, "back", nil)
}

func TestEndings(t *testing.T) {
	a, b := Pipe()
	a.Write([]byte("abc"))
	a.Reset()
	read(t, b, "abc", nil)
	read(t, b, "", syscall.ECONNRESET)
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("write after reset: %v", err)
	}
	read(t, a, "", net.ErrClosed)

	a, b = Pipe()
	b.Write([]byte("unread"))
	a.Close()
	read(t, b, "", syscall.ECONNRESET)

	a, b = Pipe()
	a.Close()
	read(t, b, "", io.EOF)
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write to a closed peer: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		start := time.Now()
		a.SetDeadline(start.Add(time.Minute))
		read(t, a, "", os.ErrDeadlineExceeded)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("read ended after %v", d)
		}
		a.SetDeadline(time.Now().Add(time.Minute))
		n, err := a.Write(make([]byte, sendBuffer+1))
		if n != sendBuffer || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Minute {
			t.Errorf("Write = %d, %v after %v", n, err, time.Since(start))
		}
		a.SetDeadline(time.Time{})
		go func() { time.Sleep(time.Hour); b.SetDeadline(time.Unix(1, 0)) }()
		b.in.pieces, b.in.size = nil, 0
		read(t, b, "", os.ErrDeadlineExceeded) // woken by a deadline set later
	})
}

func TestListener(t *testing.T) {
	l := Listen()
	c, err := l.Dial(context.Background(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil || s.RemoteAddr().String() != c.LocalAddr().String() {
		t.Fatalf("accepted %v, %v; dialled from %v", s, err, c.LocalAddr())
	}
	waiting, _ := l.Dial(context.Background(), "tcp", "")
	l.Close()
	read(t, waiting, "", syscall.ECONNRESET)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	if _, err := l.Dial(context.Background(), "tcp", ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after close: %v", err)
	}
}

// What the kernel and package net do after Close.
func TestAfterClose(t *testing.T) {
	a, b := Pipe()
	a.Close()
	for op, err := range map[string]error{
		"Close": a.Close(), "Reset": a.Reset(), "CloseWrite": a.CloseWrite(), "SetLinger": a.SetLinger(0),
		"SetDeadline": a.SetDeadline(time.Time{}), "SetReadDeadline": a.SetReadDeadline(time.Time{}),
	} {
		if failed, ok := err.(*net.OpError); !ok || !errors.Is(err, net.ErrClosed) || failed.Addr != a.RemoteAddr() {
			t.Errorf("%s: %v", op, err)
		}
	}
	for _, p := range [][]byte{nil, []byte("x")} {
		if n, err := a.Write(p); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write = %d, %v", n, err)
		}
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	b.Close()
}

func TestHalfClose(t *testing.T) {
	a, b := Pipe()
	a.CloseWrite()
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write after CloseWrite: %v", err)
	}
	if finished, err := b.Peer(); !finished || err != nil {
		t.Errorf("Peer = %v, %v", finished, err)
	}
	b.Write([]byte("reply"))
	read(t, a, "reply", nil)
	if finished, err := a.Peer(); finished || err != nil {
		t.Errorf("Peer = %v, %v", finished, err)
	}
	a.Reset() // counts more than the FIN
	read(t, b, "", syscall.ECONNRESET)
	if finished, err := b.Peer(); !finished || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Peer = %v, %v", finished, err)
	}
}

func TestLingerOfZero(t *testing.T) {
	a, b := Pipe()
	a.Write([]byte("abc"))
	a.SetLinger(0)
	a.Close()
	read(t, b, "abc", nil)
	read(t, b, "", syscall.ECONNRESET)
}

// Reading nothing does not wait, and says nothing of the end.
func TestReadOfNothing(t *testing.T) {
	a, b := Pipe()
	if n, err := a.Read(nil); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	b.Close()
}

// Two Writes that wait for room do not mix.
func TestConcurrentWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		var writes sync.WaitGroup
		for _, c := range "xyz" {
			writes.Go(func() { a.Write(bytes.Repeat([]byte{byte(c)}, 2*sendBuffer)) })
		}
		synctest.Wait()
		go func() { writes.Wait(); a.Close() }()
		got, err := io.ReadAll(b)
		if len(got) != 6*sendBuffer || err != nil || len(slices.Compact(got)) != 3 {
			t.Errorf("%d octets, %v", len(got), err)
		}
	})
}

func TestDialEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen()
		for range cap(l.queue) {
			l.Dial(context.Background(), "tcp", "")
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var timeout net.Error
		if _, err := l.Dial(ctx, "tcp", ""); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("a full queue: %v", err)
		}
		if _, err := l.Dial(ctx, "tcp", ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that has ended: %v", err)
		}
		ended := make(chan error)
		go func() { _, err := l.Dial(context.Background(), "tcp", ""); ended <- err }()
		synctest.Wait()
		l.Close()
		if err := <-ended; err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a closed listener: %v", err)
		}
	})
}
