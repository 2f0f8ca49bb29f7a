package check

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends"
)

// ServerCases returns all cases for servers, in the order in which they are run: the
// gentle ones first.
func ServerCases() []ServerCase {
	return []ServerCase{
		{"whole", "one exchange, as it should be",
			"Nothing else can be judged where this does not work.", whole},
		{"octets", "the request octet by octet",
			"TCP may cut a message anywhere; recv() returns what is there.", octetByOctet},
		{"cut", "the request cut in two, at every place",
			"A cut that a test never makes is the one that the network will.", cutInTwo},
		{"half-close", "FIN after the whole request",
			"A client that has said all may close its half; the reply must still come.", halfClose},
		{"surplus", "one octet more than the request",
			"Closing on unread octets sends RST, which can destroy the reply.", surplus},
		{"slow-reader", "the reply read octet by octet, from a small buffer",
			"send() may take a part of the reply only, or wait.", slowReader},
		{"no-reader", "requests, and no reply is ever read",
			"A send() that waits for one client must not hold up the others.", noReader},
		{"many", "many clients at once",
			"Whoever serves one after another makes the last one wait for all.", many},
		{"fin", "FIN after 0, 1, 2, ... octets of the request",
			"Clients crash, and port scanners connect and leave.", finEarly},
		{"reset", "RST in the request, and right after it",
			"recv() and send() fail with an error, which must end one connection and no more.", resets},
		{"connect-close", "connect and close at once, very often",
			"Health checks do that all day; descriptors and threads must come back.", connectClose},
		{"silence", "clients that say nothing, or stop in the middle",
			"The others must be served meanwhile; and without a deadline such clients pile up.", silence},
	}
}

func whole(ctx context.Context, b *battery) finding {
	if err := b.plain(ctx); err != nil {
		return fail("%v", err)
	}
	return pass("")
}

// noRequest says that there is nothing to cut.
func (b *battery) noRequest(least int) (finding, bool) {
	return skip("a request of %d octets has no such place", len(b.Request)), len(b.Request) < least
}

// mostPlaces bounds the places at which a long request is cut.
const mostPlaces = 64

// between is the pause that makes two pieces two receives for the server, as far as
// a client can.
const between = 10 * time.Millisecond

// mostPieces bounds the pieces of a long message that is sent, or read, octet by octet.
const mostPieces = 200

// pause is what to leave between n pieces: all together take two fifths of the limit
// at the most.
func (b *battery) pause(n int) time.Duration { return min(between, b.Limit*2/5/time.Duration(n)) }

func octetByOctet(ctx context.Context, b *battery) finding {
	if f, none := b.noRequest(2); none {
		return f
	}
	cuts := places(1, len(b.Request)-1, mostPieces)
	if err := b.pieces(ctx, b.pause(len(cuts)), cuts...); err != nil {
		return fail("%v", err)
	}
	return pass("%d pieces", len(cuts)+1)
}

func cutInTwo(ctx context.Context, b *battery) finding {
	if f, none := b.noRequest(2); none {
		return f
	}
	cuts := places(1, len(b.Request)-1, mostPlaces)
	for _, n := range cuts {
		if err := b.pieces(ctx, between, n); err != nil {
			return fail("cut after %d octets: %v", n, err)
		}
	}
	return pass("%d places", len(cuts))
}

func halfClose(ctx context.Context, b *battery) finding {
	conn, err := b.open(ctx)
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	if _, err := conn.Write(b.Request); err != nil {
		return fail("send: %s", bothends.Reason(err))
	}
	if err := closeWrite(conn); err != nil {
		return fail("%v", err)
	}
	if err := b.reply(conn); err != nil {
		return fail("the reply did not come: %v", err)
	}
	return pass("")
}

func surplus(ctx context.Context, b *battery) finding {
	conn, err := b.open(ctx)
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	if _, err := conn.Write(append(append([]byte(nil), b.Request...), 'X')); err != nil {
		return fail("send: %s", bothends.Reason(err))
	}
	if err := b.reply(conn); err != nil {
		return warn("the reply was lost: %v", err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * between))
	if _, err := io.Copy(io.Discard, conn); bothends.Classify(err) == bothends.Reset {
		return warn("it closed with an octet unread: the RST after the reply can destroy it")
	}
	return pass("")
}

func slowReader(ctx context.Context, b *battery) finding {
	conn, err := b.openNarrow(ctx, b.ReplySize/8)
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	if _, err := conn.Write(b.Request); err != nil {
		return fail("send: %s", bothends.Reason(err))
	}
	piece := (b.ReplySize + mostPieces - 1) / mostPieces
	if err := b.reply(&dripping{conn, ctx, piece, b.pause(b.ReplySize / piece)}); err != nil {
		return fail("%v", err)
	}
	return pass("")
}

// dripping gives a piece a read, with a pause before it.
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

// mostFlood bounds the requests whose replies nobody reads: by then the replies have
// filled all buffers, if there is one for each.
const mostFlood = 64 << 20

// noReader sends requests until the server takes no more, or enough, and holds the
// connection while another client is served.
func noReader(ctx context.Context, b *battery) finding {
	conn, err := b.openNarrow(ctx, 1)
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(b.Limit / 2))
	sent := 0
	for flood := bytes.Repeat(b.Request, 1000); len(flood) > 0 && sent < mostFlood; {
		n, err := conn.Write(flood)
		if sent += n; err != nil {
			break
		}
	}
	if err := b.plain(ctx); err != nil {
		return fail("another client was not served: %v", err)
	}
	return pass("%d octets of requests", sent)
}

func many(ctx context.Context, b *battery) finding {
	var wg sync.WaitGroup
	errs := make([]error, b.Many)
	for i := range errs {
		wg.Go(func() { errs[i] = b.plain(ctx) })
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
		return fail("%d of %d exchanges did not work, one of them: %v", failed, b.Many, first)
	}
	return pass("%d exchanges", b.Many)
}

// finEarly ends the request early, and looks what the server makes of it. The other
// half of such a connection has to be closed by the server.
func finEarly(ctx context.Context, b *battery) finding {
	worst := pass("")
	patience := b.Limit
	for _, n := range places(0, max(0, len(b.Request)-1), mostPlaces) {
		f := b.finAfter(ctx, n, patience)
		if err := b.plain(ctx); err != nil {
			return fail("FIN after %d octets: the next exchange did not work: %v", n, err)
		}
		if f.verdict != Pass {
			patience = between // once is enough waiting
		}
		if worst.verdict == Pass || f.verdict == Fail {
			worst = f
		}
	}
	return worst
}

func (b *battery) finAfter(ctx context.Context, n int, patience time.Duration) finding {
	conn, err := b.open(ctx)
	if err != nil {
		return fail("%v", err)
	}
	defer conn.Close()
	conn.Write(b.Request[:n]) // what goes wrong here, the reading tells
	closeWrite(conn)
	if len(b.Request) == 0 {
		return pass("")
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	got, err := io.Copy(io.Discard, conn)
	var slow net.Error
	switch {
	case got >= int64(b.ReplySize):
		return warn("it answered a request that ended after %d of %d octets", n, len(b.Request))
	case errors.As(err, &slow) && slow.Timeout():
		return warn("FIN after %d octets: it had not closed its end after %v", n, patience)
	}
	return pass("")
}

func resets(ctx context.Context, b *battery) finding {
	for _, n := range []int{len(b.Request) / 2, len(b.Request)} {
		if err := b.abandon(ctx, n); err != nil {
			return fail("%v", err)
		}
		if err := b.plain(ctx); err != nil {
			return fail("RST after %d octets: the next exchange did not work: %v", n, err)
		}
	}
	return pass("")
}

func connectClose(ctx context.Context, b *battery) finding {
	began := time.Now()
	for n := range b.Times {
		if n > 0 && time.Since(began) > 4*b.Limit {
			return warn("only %d of %d times: the limit of %v for all of them has passed", n, b.Times, 4*b.Limit)
		}
		conn, err := b.open(ctx)
		if err != nil {
			return fail("%v, after %d times", err, n)
		}
		conn.Close()
	}
	return pass("%d times", b.Times)
}

// silence holds two clients, one that says nothing and one that stops in the middle,
// and looks whether others are served, and when the server gives the two up.
func silence(ctx context.Context, b *battery) finding {
	var silent []net.Conn
	for _, n := range []int{0, len(b.Request) / 2} {
		conn, err := b.open(ctx)
		if err != nil {
			return fail("%v", err)
		}
		defer conn.Close()
		conn.Write(b.Request[:n])
		silent = append(silent, conn)
	}
	began := time.Now()
	if err := b.plain(ctx); err != nil {
		return fail("while two clients are silent, another one is not served: %v", err)
	}
	if len(b.Request) == 0 {
		return pass("others are served")
	}
	if b.Silence < 0 {
		return pass("others are served; whether there is a deadline was not asked")
	}
	for i, conn := range silent {
		conn.SetReadDeadline(began.Add(b.Silence))
		var slow net.Error
		if _, err := io.Copy(io.Discard, conn); errors.As(err, &slow) && slow.Timeout() {
			return warn("no deadline within %v: %s was still connected",
				b.Silence, []string{"a client that says nothing", "a client that stopped in the middle"}[i])
		}
	}
	return pass("others are served; the silent ones were closed after %v", rounded(time.Since(began)))
}
