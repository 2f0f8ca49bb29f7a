package check_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/check"
)

// ending returns how a connection ended, as its reader saw it.
func ending(err error) string {
	var slow net.Error
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return "FIN"
	case errors.As(err, &slow) && slow.Timeout():
		return "silence"
	case bothends.Classify(err) == bothends.Reset || errors.Is(err, syscall.EPIPE):
		return "RST"
	case bothends.Classify(err) == bothends.Refused:
		return "refused"
	}
	return err.Error()
}

// A recorder is a server that answers correctly, and records what each connection did:
// "16 FIN", "8 RST" or "0 silence".
type recorder struct {
	mu    sync.Mutex
	conns []string
}

const readLimit = time.Second

func (r *recorder) handle(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(readLimit))
	request := make([]byte, 16)
	n, err := io.ReadFull(conn, request)
	if err == nil {
		_, err = conn.Write([]byte(bothends.DefaultReply))
	}
	if err == nil {
		conn.SetReadDeadline(time.Now().Add(readLimit))
		var more int64
		more, err = io.Copy(io.Discard, conn)
		n += int(more)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, fmt.Sprintf("%d %s", n, ending(err)))
}

// did returns what the connections did, except for normal exchanges, and how many did the
// same.
func (r *recorder) did() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := make(map[string]int)
	for _, c := range r.conns {
		count[c]++
	}
	delete(count, "16 FIN")
	for what, n := range count {
		all = append(all, fmt.Sprintf("%s x%d", what, n))
	}
	slices.Sort(all)
	return all
}

// Each case does to a server what its title says.
func TestWhatServersMeet(t *testing.T) {
	t.Parallel()
	var cuts []string
	for n := 1; n < 16; n++ {
		cuts = append(cuts, fmt.Sprintf("%d FIN x1", n))
	}
	slices.Sort(cuts)
	for name, want := range map[string][]string{
		"whole":         nil,
		"octets":        nil,
		"cut":           nil,
		"half-close":    nil,
		"many":          nil,
		"surplus":       {"17 FIN x1"},
		"fin":           append([]string{"0 FIN x1"}, cuts...),
		"reset":         {"16 RST x1", "8 RST x1"},
		"connect-close": {"0 FIN x7"},
		"silence":       {"0 silence x1", "8 silence x1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r recorder
			t.Run("served", func(t *testing.T) { // at its end the server has ended too
				s := &check.Server{Addr: serve(t, r.handle), Times: 7, Many: 20, Silence: 5 * time.Second}
				if got, why := verdicts(t, s, name); got[0] != name+": pass" {
					t.Errorf("%s, %q", got, why)
				}
			})
			if diff := cmp.Diff(want, r.did()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The pieces of a request arrive separately.
func TestPiecesThatServersMeet(t *testing.T) { inMemory(t, "", testPiecesThatServersMeet) }

func testPiecesThatServersMeet(t *testing.T) {
	for name, want := range map[string]struct{ pieces, longest int }{"octets": {16, 1}, "cut": {30, 15}} {
		var mu sync.Mutex
		longest, pieces := 0, 0
		dial := serveInMemory(t, func(conn net.Conn) {
			request := make([]byte, 16)
			for got, reads := 0, 0; got < 16; {
				n, err := conn.Read(request[got:])
				if err != nil {
					return
				}
				got += n
				if reads++; reads > 1 || got < 16 { // not in a normal exchange
					mu.Lock()
					longest, pieces = max(longest, n), pieces+1
					mu.Unlock()
				}
			}
			conn.Write([]byte(bothends.DefaultReply))
		}, false)
		if got, why := verdicts(t, &check.Server{Dial: dial}, name); got[0] != name+": pass" {
			t.Errorf("%q, %q", got, why)
		}
		mu.Lock()
		if pieces != want.pieces || longest != want.longest {
			t.Errorf("%s: %d pieces of up to %d octets", name, pieces, longest)
		}
		mu.Unlock()
	}
}

// A slow reader with a small buffer keeps a server with a small buffer in its send.
func TestSlowReaderIsSlow(t *testing.T) {
	t.Parallel()
	const size = 48 << 10
	var mu sync.Mutex
	var longest time.Duration
	addr := serve(t, func(conn net.Conn) {
		conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
		if err := bothends.ReadMessage(conn, make([]byte, 16)); err != nil {
			return
		}
		start := time.Now()
		conn.Write(make([]byte, size))
		mu.Lock()
		defer mu.Unlock()
		longest = max(longest, time.Since(start))
	})
	s := &check.Server{Addr: addr, ReplySize: size, Limit: 10 * time.Second}
	if got, why := verdicts(t, s, "slow-reader"); got[0] != "slow-reader: pass" {
		t.Errorf("%q, %q", got, why)
	}
	mu.Lock()
	defer mu.Unlock()
	if longest < 150*time.Millisecond { // it reads for 2000
		t.Errorf("the server sent everything within %v", longest)
	}
}

// recordingClient is a client that a case runs. It prints what it has met.
func recordingClient() {
	start := time.Now()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(os.Getenv("BOTHENDS_HOST"), os.Getenv("BOTHENDS_PORT")), time.Second)
	if err != nil {
		fmt.Println("connect", ending(err))
		os.Exit(1)
	}
	defer conn.Close()
	conn.Write([]byte(bothends.DefaultRequest))
	if len(os.Args) > 1 { // one that reads less
		n, _ := strconv.Atoi(os.Args[1])
		io.ReadFull(conn, make([]byte, n))
		return
	}
	conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	var got []byte
	var first time.Duration
	reads := 0
	for p := make([]byte, 64); err == nil; {
		var n int
		if n, err = conn.Read(p); n > 0 {
			if got = append(got, p[:n]...); reads == 0 {
				first = time.Since(start)
			}
			reads++
		}
	}
	how := "at once"
	if first >= 400*time.Millisecond {
		how = "late"
	}
	pieces := "one piece"
	switch {
	case reads > 8:
		pieces = "octets"
	case reads > 1:
		pieces = "pieces"
	}
	fmt.Printf("%q, %s, in %s, then %s\n", got, how, pieces, ending(err))
	if string(got) != bothends.DefaultReply {
		os.Exit(1)
	}
}

// Each case does to a client what its title says.
func TestWhatClientsMeet(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"whole":       `"Farewell, client", at once, in one piece, then FIN`,
		"pieces":      `"Farewell, client", at once, in pieces, then FIN`,
		"octets":      `"Farewell, client", at once, in octets, then FIN`,
		"slow":        `"Farewell, client", late, in one piece, then FIN`,
		"surplus":     `"Farewell, clientX", at once, in one piece, then FIN`,
		"wrong":       `"Farewell- client", at once, in one piece, then FIN`,
		"closed":      `"", at once, in one piece, then FIN`,
		"cut-fin":     `"Farewell, ", at once, in one piece, then FIN`,
		"reset":       `"", at once, in one piece, then RST`,
		"cut-reset":   `"Farewell, ", at once, in one piece, then RST`,
		"silence":     `"", at once, in one piece, then silence`,
		"cut-silence": `"Farewell, ", at once, in one piece, then silence`,
		"refused":     "connect refused",
		"hang":        "connect silence",
	}
	_, results := clientVerdicts(t, &check.Client{Command: []string{self}})
	for _, c := range check.ClientCases() {
		r := results[c.Name]
		if r.Verdict != check.Pass || strings.TrimSpace(r.Output) != want[c.Name] {
			t.Errorf("%s: %v, %s; it met %s, want %s", c.Name, r.Verdict, r.Why, strings.TrimSpace(r.Output), want[c.Name])
		}
	}
}

// A client that leaves before the last octet of the reply, or without reading it.
func TestClientsThatReadLess(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[string][]string{
		"15": {"whole: warn", "pieces: warn", "slow: warn"}, // not octets: the rest may arrive before the process ends
		"12": {"whole: warn", "octets: fail", "slow: warn"},
		"1":  {"whole: warn", "pieces: fail", "octets: fail", "slow: warn"},
	} {
		t.Run(n, func(t *testing.T) {
			t.Parallel()
			var names []string
			for _, w := range want {
				name, _, _ := strings.Cut(w, ":")
				names = append(names, name)
			}
			got, results := clientVerdicts(t, &check.Client{Command: []string{self, n}}, names...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s octets: %s\n%v", n, diff, results)
			}
		})
	}
}
