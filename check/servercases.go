package check

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends"
)

// ServerCases returns all cases for servers in the order in which they are run: those
// without misbehavior first.
func ServerCases() []ServerCase {
	return []ServerCase{
		{wholeCase, "one normal exchange",
			"If this does not work, no other case means anything.", whole},
		{"octets", "the request octet by octet",
			"TCP can split a message anywhere, and recv() returns what has arrived.", octetByOctet},
		{"cut", "the request cut in two, at every place",
			"The network makes the cut that no test has tried.", cutInTwo},
		{"half-close", "FIN after the whole request",
			"A client can close its sending half and still expect the reply.", halfClose},
		{"surplus", "one octet more than the request",
			"A close with unread octets sends RST, which can destroy the reply.", surplus},
		{"slow-reader", "the reply read octet by octet, from a small buffer",
			"send() may send a part of the reply only, or wait.", slowReader},
		{"no-reader", "requests whose replies are never read",
			"A send() that waits for one client must not stop the others.", noReader},
		{"many", "many clients at the same time",
			"If a server serves one client after another, the last one waits for all.", many},
		{"fin", "FIN after 0, 1, 2, ... octets of the request",
			"Clients crash, and port scanners connect and leave.", finEarly},
		{"reset", "RST in the middle of the request, and after it",
			"recv() and send() fail with an error that must end one connection only.", resets},
		{"connect-close", "connect and close at once, many times",
			"Health checks do this all day, so no descriptor or thread may be lost.", connectClose},
		{"silence", "clients that send nothing, or half a request",
			"Other clients must be served, and the silent connections must end.", silence},
	}
}

func whole(ctx context.Context, s *suite) finding {
	if err := s.normal(ctx); err != nil {
		return fail("%v", err)
	}
	return pass("")
}

// tooShort reports whether the request has fewer than least octets, and returns the
// finding of a case that then cannot be run.
func (s *suite) tooShort(least int) (finding, bool) {
	return skip("a request of %s cannot be cut", octets(len(s.Request))), len(s.Request) < least
}

// mostPlaces is the maximum number of places at which a long request is cut.
const mostPlaces = 64

// between is the pause between two pieces. After it, the server probably receives them
// separately; a client cannot do more.
const between = 10 * time.Millisecond

// mostPieces is the maximum number of pieces of a long message that is sent, or read,
// octet by octet.
const mostPieces = 200

// pause returns the pause between n pieces. All pauses together take at most two fifths
// of the limit.
func (s *suite) pause(n int) time.Duration { return min(between, s.Limit*2/5/time.Duration(n)) }

func octetByOctet(ctx context.Context, s *suite) finding {
	if f, short := s.tooShort(2); short {
		return f
	}
	cuts := places(1, len(s.Request)-1, mostPieces)
	if err := s.pieces(ctx, s.pause(len(cuts)), cuts...); err != nil {
		return fail("%v", err)
	}
	return pass("%d pieces", len(cuts)+1)
}

func cutInTwo(ctx context.Context, s *suite) finding {
	if f, short := s.tooShort(2); short {
		return f
	}
	cuts := places(1, len(s.Request)-1, mostPlaces)
	for _, n := range cuts {
		if err := s.pieces(ctx, between, n); err != nil {
			return fail("cut after %s: %v", octets(n), err)
		}
	}
	return pass("%d places", len(cuts))
}

// halfClose sends FIN after the request. Before version 1.3, TLS does not allow a server
// to reply after close_notify (RFC 5246, section 7.2.1).
func halfClose(ctx context.Context, s *suite) finding {
	conn, err := s.open(ctx)
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	if secured := tlsConn(conn); secured != nil {
		if v := secured.ConnectionState().Version; v < tls.VersionTLS13 {
			return skip("%s does not allow a reply after close_notify", tls.VersionName(v))
		}
	}
	if _, err := conn.Write(s.Request); err != nil {
		return fail("send: %s", bothends.Reason(err))
	}
	if err := finish(conn); err != nil {
		return fail("%v", err)
	}
	if err := s.reply(conn); err != nil {
		return fail("the reply did not arrive: %v", err)
	}
	return pass("")
}

func surplus(ctx context.Context, s *suite) finding {
	conn, err := s.open(ctx)
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	if _, err := conn.Write(append(append([]byte(nil), s.Request...), 'X')); err != nil {
		return fail("send: %s", bothends.Reason(err))
	}
	if err := s.reply(conn); err != nil {
		return warn("the reply was lost: %v", err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * between))
	if _, err := io.Copy(io.Discard, conn); bothends.Classify(err) == bothends.Reset {
		return warn("the server closed the connection with an octet unread: RST came after the reply and can destroy it")
	}
	return pass("")
}

func slowReader(ctx context.Context, s *suite) finding {
	conn, err := s.openNarrow(ctx, max(1, s.ReplySize/8))
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	if _, err := conn.Write(s.Request); err != nil {
		return fail("send: %s", bothends.Reason(err))
	}
	piece := (s.ReplySize + mostPieces - 1) / mostPieces
	if err := s.reply(&dripping{conn, ctx, piece, s.pause(s.ReplySize / piece)}); err != nil {
		return fail("%v", err)
	}
	return pass("")
}

// dripping returns one piece for each Read, after a pause.
type dripping struct {
	net.Conn
	ctx   context.Context
	piece int
	pause time.Duration
}

func (c *dripping) Read(p []byte) (int, error) {
	if err := wait(c.ctx, c.pause); err != nil {
		return 0, err
	}
	return c.Conn.Read(p[:min(c.piece, len(p))])
}

// mostFlood is the maximum length of all requests of noReader. With one reply per
// request, the replies fill all buffers before.
const mostFlood = 64 << 20

// noReader sends requests until the server accepts no more, and keeps the connection open
// while another client makes an exchange.
func noReader(ctx context.Context, s *suite) finding {
	conn, err := s.openNarrow(ctx, 1)
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(s.Limit / 2))
	sent := 0
	for flood := bytes.Repeat(s.Request, 1000); len(flood) > 0 && sent < mostFlood; {
		n, err := conn.Write(flood)
		if sent += n; err != nil {
			break
		}
	}
	if err := s.normal(ctx); err != nil {
		return fail("another client was not served: %v", err)
	}
	return pass("%s of requests", octets(sent))
}

func many(ctx context.Context, s *suite) finding {
	var wg sync.WaitGroup
	errs := make([]error, s.Many)
	for i := range errs {
		wg.Go(func() { errs[i] = s.normal(ctx) })
	}
	wg.Wait()
	failed := 0
	var first error // the server's, if there is one
	for _, err := range errs {
		if err != nil {
			failed++
		}
		if first == nil || isLocal(first) {
			first = cmp.Or(err, first)
		}
	}
	if failed > 0 {
		return fail("%d of %d exchanges did not work, one of them: %v", failed, s.Many, first)
	}
	return pass("%d exchanges", s.Many)
}

// finEarly sends FIN before the end of the request. The server has to close its half of
// such a connection.
func finEarly(ctx context.Context, s *suite) finding {
	worst := pass("")
	timeout := s.Limit
	for _, n := range places(0, max(0, len(s.Request)-1), mostPlaces) {
		f := s.finAfter(ctx, n, timeout)
		if f.err != nil {
			return f
		}
		if err := s.normal(ctx); err != nil {
			return fail("after %s and FIN, the next exchange did not work: %v", octets(n), err)
		}
		if f.verdict != Pass {
			timeout = between // it has been seen once
		}
		if worst.verdict == Pass {
			worst = f
		}
	}
	return worst
}

// finAfter sends n octets and FIN; over TLS without close_notify, as the kernel does for a
// program that has ended.
func (s *suite) finAfter(ctx context.Context, n int, timeout time.Duration) finding {
	conn, err := s.open(ctx)
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	conn.Write(s.Request[:n]) // the read below finds out what went wrong here
	if err := vanish(conn); errors.As(err, new(unsupportedError)) {
		return fail("%v", err)
	}
	if len(s.Request) == 0 {
		return pass("")
	}
	conn.SetReadDeadline(time.Now().Add(timeout))
	got, err := io.Copy(io.Discard, conn)
	var late net.Error
	switch {
	case got >= int64(s.ReplySize):
		return warn("the server answered a request that ended after %d of %d octets", n, len(s.Request))
	case errors.As(err, &late) && late.Timeout():
		return warn("%v after %s and FIN, the server had not closed its end", timeout, octets(n))
	}
	return pass("")
}

func resets(ctx context.Context, s *suite) finding {
	for _, n := range []int{len(s.Request) / 2, len(s.Request)} {
		if err := s.abandon(ctx, n); err != nil {
			return fail("%v", err)
		}
		if err := s.normal(ctx); err != nil {
			return fail("after %s and RST, the next exchange did not work: %v", octets(n), err)
		}
	}
	return pass("")
}

func connectClose(ctx context.Context, s *suite) finding {
	start := time.Now()
	for n := range s.Times {
		if n > 0 && time.Since(start) > 4*s.Limit {
			return warn("stopped after %d of %d connections, because %v (4 times the limit) have passed", n, s.Times, 4*s.Limit)
		}
		conn, err := s.open(ctx)
		if err != nil {
			return fail("%v, after %d connections", err, n)
		}
		conn.Close()
	}
	return pass("%d connections", s.Times)
}

// silence opens two connections, one without a request and one with half of it. It finds
// out whether other clients are served, and when the server closes the two.
func silence(ctx context.Context, s *suite) finding {
	var silent []net.Conn
	for _, n := range []int{0, len(s.Request) / 2} {
		conn, err := s.open(ctx)
		switch {
		case err != nil && len(silent) > 0:
			return fail("while a client is silent, another one cannot connect: %v", err)
		case err != nil:
			return fail("%v", err)
		}
		defer conn.Close()
		conn.Write(s.Request[:n])
		silent = append(silent, conn)
	}
	start := time.Now()
	if err := s.normal(ctx); err != nil {
		return fail("while two clients are silent, another one is not served: %v", err)
	}
	if len(s.Request) == 0 {
		return pass("other clients are served")
	}
	if s.Silence < 0 {
		return pass("other clients are served; it was not tested whether the server closes silent connections")
	}
	for i, conn := range silent {
		conn.SetReadDeadline(start.Add(s.Silence))
		var late net.Error
		if _, err := io.Copy(io.Discard, conn); errors.As(err, &late) && late.Timeout() {
			return warn("no deadline within %v: %s was still connected",
				s.Silence, []string{"a client that sent nothing", "a client that sent half a request"}[i])
		}
	}
	return pass("other clients are served; the silent connections were closed after %v", rounded(time.Since(start)))
}
