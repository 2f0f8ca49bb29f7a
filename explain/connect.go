package explain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/transcript"
)

var connect = Lesson{
	Name:     "connect",
	Title:    "What connect() does: a real operation on the network, which can fail",
	Remember: "A connect() that succeeds says that the other kernel has answered, not that a program has; one that fails says how: with an answer, or with none.",
	Function: "s.connect(), the client's first call that can fail",
	run:      runConnect,
}

func runConnect(ctx context.Context, set Setting) ([]Step, error) {
	s := newStage(set)
	for _, situation := range []func(context.Context, *stage) error{
		connectRefused, connectBeforeAccept, connectHangs, connectUnreachable, connectUDP,
	} {
		if err := situation(ctx, s); err != nil {
			return s.steps, err
		}
	}
	return s.steps, nil
}

// dial connects, tells what came of it, and how long that took.
func (s *stage) dial(ctx context.Context, network, addr string, limit time.Duration) (net.Conn, bothends.Outcome, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	conn, err := s.Dialer.DialContext(ctx, network, addr)
	return conn, bothends.Classify(err), time.Since(began), err
}

const dialLimit = 5 * time.Second

// connectRefused: nobody listens.
func connectRefused(ctx context.Context, s *stage) error {
	ln, err := listen(0)
	if err != nil {
		return err
	}
	ln.Close()
	conn, outcome, took, err := s.dial(ctx, "tcp", ln.Addr().String(), dialLimit)
	if err == nil {
		conn.Close()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.step("client", fmt.Sprintf("connect(%s): %v after %s", transcript.SocketName(ln.Addr()), outcome, millis(took)),
		"Nobody listens on that port. The SYN was answered all the same: the kernel there sent RST, and so the failure is known at once.")
	s.claim(outcome == bothends.Refused, "it would be refused, and not: %v", err)
	return nil
}

// connectBeforeAccept: a program listens, and has not called accept.
func connectBeforeAccept(ctx context.Context, s *stage) error {
	ln, err := listen(0)
	if err != nil {
		return err
	}
	defer ln.Close()
	s.step("server", "listen(), and no accept()", "The server's program does nothing more for now.")
	conn, outcome, took, err := s.dial(ctx, "tcp", ln.Addr().String(), dialLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	n, err := conn.Write([]byte(bothends.DefaultRequest))
	if err != nil {
		return err
	}
	s.step("client", fmt.Sprintf("connect(): %v after %s; send(%d): returned %d", outcome, millis(took), len(bothends.DefaultRequest), n),
		"The kernel completed the handshake by itself and put the connection into the listening socket's queue, the backlog. "+
			"The client can even send: to it the server looks alive.")
	s.claim(outcome == bothends.OK && n == len(bothends.DefaultRequest), "both calls would succeed")
	began := time.Now()
	accepted, err := ln.Accept()
	if err != nil {
		return err
	}
	defer accepted.Close()
	s.step("server", fmt.Sprintf("accept(): returned after %s", millis(time.Since(began))),
		"The connection was there already; accept() only took it out of the queue.")
	return nil
}

// hanging is how long the lesson waits for a connect that gets no answer.
const hanging = 300 * time.Millisecond

// connectHangs: the backlog is full.
func connectHangs(ctx context.Context, s *stage) error {
	ln, err := listen(0)
	if err != nil {
		return err
	}
	defer ln.Close()
	if err := setBacklog(ln, 0); err != nil {
		if errors.Is(err, ErrNotAvailable) {
			return nil // this situation cannot be made on this system
		}
		return err
	}
	queued := 0
	for range 8 {
		conn, outcome, took, err := s.dial(ctx, "tcp", ln.Addr().String(), hanging)
		if err == nil {
			defer conn.Close()
			queued++
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.step("client", fmt.Sprintf("connect() number %d: %v after %s", queued+1, outcome, millis(took)),
			fmt.Sprintf("The server had called listen() with a backlog of 0, which was full after %d. Its kernel now drops each "+
				"SYN without an answer. The client's kernel would go on asking for minutes; the lesson gave it %s.", queued, millis(hanging)))
		s.claim(outcome == bothends.Timeout, "there would be no answer: %v", err)
		return nil
	}
	s.step("client", fmt.Sprintf("connect(), %d times: ok", queued), "The server had called listen() with a backlog of 0.")
	s.claim(false, "the queue would be full sooner, and connect would hang")
	return nil
}

// connectUnreachable uses an address that TCP cannot reach anywhere, so that nothing
// leaves this machine: a multicast group.
func connectUnreachable(ctx context.Context, s *stage) error {
	const addr = "224.0.0.1:1060"
	conn, outcome, took, err := s.dial(ctx, "tcp4", addr, dialLimit)
	if err == nil {
		conn.Close()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.step("client", fmt.Sprintf("connect(%s): %v after %s", transcript.HostPortName(addr), outcome, millis(took)),
		"This kernel found no way to that address (it is a group, and TCP connects two ends), so it sent nothing: the failure is its own.")
	s.claim(outcome == bothends.Unreachable, "it would be unreachable: %v", err)
	return nil
}

// connectUDP: the same call, and nothing is sent.
func connectUDP(ctx context.Context, s *stage) error {
	ln, err := listen(0) // which loopback address this machine has
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	addr := packets.LocalAddr()
	packets.Close()
	conn, outcome, took, err := s.dial(ctx, "udp", addr.String(), dialLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	s.step("client", fmt.Sprintf("UDP connect(%s): %v after %s", transcript.HostPortName(addr.String()), outcome, millis(took)),
		"Nobody is there either, and it succeeds: for UDP the call sends nothing. It notes the other address, for sends that name none, and as a filter on what comes in.")
	s.claim(outcome == bothends.OK, "it would succeed")
	if _, err = conn.Write([]byte("anybody there?")); err == nil {
		conn.SetReadDeadline(time.Now().Add(time.Second))
		_, err = conn.Read(make([]byte, 16))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	outcome = bothends.Classify(err)
	s.step("client", fmt.Sprintf("UDP send(14), then recv(): %v", outcome),
		"Only the first datagram finds out: the kernel there answered with an ICMP message, which the next call reports.")
	s.claim(outcome == bothends.Refused, "the answer would be that nobody is there: %v", err)
	return nil
}
