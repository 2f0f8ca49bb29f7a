package tcpconn

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

// A wrapper holds what is to be sent until it is closed, and knows no half-close.
type wrapper struct {
	net.Conn
	linger int
	closed bool
}

func (w *wrapper) NetConn() net.Conn       { return w.Conn }
func (w *wrapper) SetLinger(sec int) error { w.linger = sec; return nil }
func (w *wrapper) Close() error            { w.closed = true; return w.Conn.Close() }

func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	s.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestLayers(t *testing.T) {
	tcp, _ := tcpPair(t)
	inner := &wrapper{Conn: tcp}
	outer := &wrapper{Conn: inner}
	if found, ok := Find[*wrapper](outer); !ok || found != outer {
		t.Error("the outermost layer is not found")
	}
	if found, ok := Find[*net.TCPConn](outer); !ok || found != tcp || Lowest(outer) != net.Conn(tcp) || !HasSocket(outer) {
		t.Error("the lowest layer is not found")
	}
	if _, ok := Find[*net.UnixConn](outer); ok {
		t.Error("a layer is found that is not there")
	}
	pipe, _ := net.Pipe()
	if HasSocket(pipe) || Lowest(pipe) != pipe {
		t.Error("a pipe has no socket")
	}
	if _, ok := Find[net.Conn](nil); ok || Below(pipe) != nil || Below(outer) != net.Conn(inner) {
		t.Error("below")
	}
}

func TestCloseWriteSkipsLayers(t *testing.T) {
	tcp, peer := tcpPair(t)
	if err := CloseWrite(&wrapper{Conn: tcp}); err != nil {
		t.Error(err)
	}
	if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer: %v", err)
	}
	pipe, _ := net.Pipe()
	if err := CloseWrite(pipe); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a pipe: %v", err)
	}
}

func TestAbort(t *testing.T) {
	tcp, peer := tcpPair(t)
	w := &wrapper{Conn: tcp, linger: -1}
	if err := Abort(w); err != nil || !w.closed || w.linger != 0 {
		t.Errorf("%v, %+v", err, w)
	}
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) && !isWindowsReset(err) {
		t.Errorf("the peer: %v", err)
	}
	pipe, other := net.Pipe()
	if err := Abort(pipe); err != nil {
		t.Error(err)
	}
	if _, err := other.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a pipe: %v", err)
	}
}

func isWindowsReset(err error) bool { return errors.Is(err, syscall.Errno(10054)) }

func TestDrain(t *testing.T) {
	r := &io.LimitedReader{R: iotest.OneByteReader(zeros{}), N: 9000}
	if Drain(r); r.N != 0 {
		t.Errorf("%d octets are left", r.N)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
