package explain

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"
)

// Accept returns only the lesson's own connection, and ends with its context.
func TestAcceptFrom(t *testing.T) {
	ln, err := listen(0)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var conns []net.Conn // the first one is from another program
	for range 2 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	own := conns[1].LocalAddr().String()
	conn, err := acceptFrom(t.Context(), ln, own)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.RemoteAddr().String() != own {
		t.Errorf("accepted %v, and not %s", conn.RemoteAddr(), own)
	}
	ctx, cancel := context.WithCancel(t.Context())
	start := time.Now()
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := acceptFrom(ctx, ln, own); err != context.Canceled || time.Since(start) >= dialLimit {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// The time of connect() does not include the work before it.
func TestDialTime(t *testing.T) {
	ln, err := listen(0)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const before = 200 * time.Millisecond
	s := newStage(Setting{})
	s.Dialer.Control = func(string, string, syscall.RawConn) error {
		<-time.After(before)
		return nil
	}
	conn, took, err := s.dial(t.Context(), "tcp", ln.Addr().String(), dialLimit)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if took >= before {
		t.Errorf("connect() took %v", took)
	}
}
