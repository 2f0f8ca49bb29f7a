package explain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/bothends/bothends/internal/tcpinfo"
)

// A stage is a connection on loopback, and the steps of what is done with it.
type stage struct {
	Setting
	start          time.Time
	client, server *net.TCPConn
	steps          []Step
}

func newStage(s Setting) *stage { return &stage{Setting: s, start: time.Now()} }

// connect gives the stage a connection. Whatever blocks on it is woken when ctx ends.
func (s *stage) connect(ctx context.Context) (hangUp func(), err error) {
	ln, err := listen(0)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	client, err := s.Dialer.DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	server, err := ln.Accept()
	if err != nil {
		client.Close()
		return nil, err
	}
	s.client, s.server = client.(*net.TCPConn), server.(*net.TCPConn)
	stop := context.AfterFunc(ctx, func() {
		client.SetDeadline(time.Unix(1, 0))
		server.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		stop()
		client.Close()
		server.Close()
	}, nil
}

// step adds what an end did, and what that means.
func (s *stage) step(end, line, why string) {
	s.steps = append(s.steps, Step{At: time.Since(s.start), End: end, Line: line, Why: why})
}

// claim checks what the last step says; where it does not hold, the lesson tells so.
func (s *stage) claim(holds bool, format string, args ...any) {
	if !holds {
		s.steps[len(s.steps)-1].Unlike = fmt.Sprintf(format, args...)
	}
}

// ErrNotAvailable: the lesson makes single system calls, and does not know this
// system's.
var ErrNotAvailable = errors.New("this lesson is not available on this system")

// arrived waits until n octets are in conn's receive queue, as far as the kernel
// tells; on loopback that takes microseconds.
func arrived(ctx context.Context, conn net.Conn, n int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		info, err := tcpinfo.Read(conn)
		if err != nil || info.Unread == nil {
			return ErrNotAvailable
		}
		if *info.Unread >= n {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%d octets did not arrive within a second", n)
}

// unread is how many octets the kernel holds for the reader.
func unread(conn net.Conn) int {
	info, err := tcpinfo.Read(conn)
	if err != nil || info.Unread == nil {
		return -1
	}
	return *info.Unread
}
