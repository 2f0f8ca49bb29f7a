package explain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/bothends/bothends/internal/tcpinfo"
)

// A stage is a connection on loopback and the steps of a lesson that uses it.
type stage struct {
	Setting
	start          time.Time
	client, server *net.TCPConn
	steps          []Step
	inVain         bool // the kernel's table of sockets was not as expected within the time limit
}

func newStage(s Setting) *stage { return &stage{Setting: s, start: time.Now()} }

// A situation is a part of a lesson.
type situation func(context.Context, *stage) error

// perform runs a lesson's situations sequentially and returns the steps.
func (s *stage) perform(ctx context.Context, situations ...situation) ([]Step, error) {
	for _, part := range situations {
		if err := part(ctx, s); err != nil {
			return s.steps, err
		}
	}
	return s.steps, nil
}

// connected returns a situation that runs on a new connection.
func connected(part situation) situation {
	return func(ctx context.Context, s *stage) error {
		hangUp, err := s.connect(ctx)
		if err != nil {
			return err
		}
		defer hangUp()
		return part(ctx, s)
	}
}

// connect makes the stage's connection. The end of ctx wakes calls that block on it.
func (s *stage) connect(ctx context.Context) (hangUp func(), err error) {
	ln, err := listen(0)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	if s.client, s.server, err = s.pair(ctx, ln); err != nil {
		return nil, err
	}
	client, server := s.client, s.server
	stop := context.AfterFunc(ctx, func() {
		client.SetDeadline(longAgo)
		server.SetDeadline(longAgo)
	})
	return func() {
		stop()
		client.Close()
		server.Close()
	}, nil
}

// longAgo is a deadline in the past, which wakes blocked calls.
var longAgo = time.Unix(1, 0)

// pair makes a connection to ln and returns both ends.
func (s *stage) pair(ctx context.Context, ln net.Listener) (client, server *net.TCPConn, err error) {
	conn, _, err := s.dial(ctx, "tcp", ln.Addr().String(), dialLimit)
	if err != nil {
		return nil, nil, err
	}
	if server, err = acceptFrom(ctx, ln, conn.LocalAddr().String()); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn.(*net.TCPConn), server, nil
}

// dialLimit is much longer than connect and accept take on this machine. If the kernel
// drops the SYN of a lesson, the lesson fails instead of waiting.
const dialLimit = 2 * time.Second

// dial connects and returns the duration of connect(), without the time of the Dialer's
// Control, which may start a capture.
func (s *stage) dial(ctx context.Context, network, addr string, limit time.Duration) (net.Conn, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	d := timed(s.Dialer, &began)
	conn, err := d.DialContext(ctx, network, addr)
	return conn, time.Since(began), err
}

// timed returns the Dialer with a Control that sets began when it returns. Use it for an
// address and not for a name, whose addresses may be tried concurrently.
func timed(d net.Dialer, began *time.Time) net.Dialer {
	first, last := d.ControlContext, d.Control
	d.ControlContext = func(ctx context.Context, network, addr string, c syscall.RawConn) (err error) {
		switch {
		case first != nil: // as in net, only one of them is called
			err = first(ctx, network, addr, c)
		case last != nil:
			err = last(network, addr, c)
		}
		*began = time.Now()
		return err
	}
	return d
}

// acceptFrom accepts a connection from one of clients. It closes connections of other
// programs.
func acceptFrom(ctx context.Context, ln net.Listener, clients ...string) (*net.TCPConn, error) {
	tcp := ln.(*net.TCPListener)
	tcp.SetDeadline(time.Now().Add(dialLimit))
	defer context.AfterFunc(ctx, func() { tcp.SetDeadline(longAgo) })()
	for {
		conn, err := tcp.AcceptTCP()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, err
		case slices.Contains(clients, conn.RemoteAddr().String()):
			return conn, nil
		}
		conn.Close()
	}
}

// step adds a step: what an end did, and the explanation.
func (s *stage) step(end, line, why string) {
	s.steps = append(s.steps, Step{At: time.Since(s.start), End: end, Line: line, Why: why})
}

// claim checks the explanation of the last step. If it is false, claim replaces the
// explanation with what normally happens. The line of the step shows the actual result.
func (s *stage) claim(holds bool, format string, args ...any) {
	if last := &s.steps[len(s.steps)-1]; !holds && last.Unlike == "" {
		last.Why, last.Unlike = "", fmt.Sprintf(format, args...)
	}
}

// awaitTable reads the kernel's table until it is as expected, for at most 1 s. It reports
// whether the table was as expected. After a failure, later calls wait for at most 100 ms.
func (s *stage) awaitTable(ctx context.Context, as func() (bool, error)) (bool, error) {
	limit := time.Second
	if s.inVain {
		limit /= 10
	}
	end := time.Now().Add(limit)
	tick := time.NewTicker(5 * time.Millisecond) // reading the table may take that long
	defer tick.Stop()
	for time.Now().Before(end) {
		if done, err := as(); done || err != nil {
			return done, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	s.inVain = true
	return false, nil
}

// ErrNotAvailable is returned if a lesson needs system calls that are not implemented for
// this system.
var ErrNotAvailable = errors.New("this lesson is not available on this system")

// arrived waits until n octets are in conn's receive queue, if the kernel reports the
// queue. On loopback this takes microseconds.
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

// unread returns the number of octets in the receive queue.
func unread(conn net.Conn) int {
	info, err := tcpinfo.Read(conn)
	if err != nil || info.Unread == nil {
		return -1
	}
	return *info.Unread
}
