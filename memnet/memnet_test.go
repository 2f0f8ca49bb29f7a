package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
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
