package bothends_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bothends/bothends"
)

// The test makes 10,000 connections that are closed, reset, silent or complete at
// random. Each accepted connection has exactly one outcome, the outcomes are those that
// the peers caused, and no goroutine or descriptor is left.
func TestEveryConnectionIsCounted(t *testing.T) {
	const total, workers = 10_000, 100
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ln := loopback(t)
	dial(t, ln).Close() // the runtime opens descriptors for the first connection
	if conn, err := ln.Accept(); err == nil {
		conn.Close()
	}
	files := openFiles(t)

	results := new(score)
	s := &bothends.Server{TraceConn: results.trace, Timeout: 500 * time.Millisecond, Log: quiet}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()

	snapshots := watchStats(t, s)

	var left atomic.Int64
	left.Store(total)
	var mu sync.Mutex
	want := make(map[bothends.Outcome]int)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for left.Add(-1) >= 0 {
				outcome := misbehave(t, ln.Addr().String(), random)
				mu.Lock()
				want[outcome]++
				mu.Unlock()
			}
		})
	}
	all.Wait()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, bothends.ErrServerClosed) {
		t.Error(err)
	}
	snapshots()
	stats := s.Stats()
	sum := 0
	for _, o := range bothends.Outcomes() {
		sum += results.outcomes[o]
		if results.outcomes[o] != want[o] {
			t.Errorf("%v: counted %d, the peers made %d", o, results.outcomes[o], want[o])
		}
		if n := int64(want[o]); stats.Ended[o] != n || stats.Exchanges[o] != n {
			t.Errorf("%v: Stats has %d connections and %d exchanges, the peers made %d", o, stats.Ended[o], stats.Exchanges[o], n)
		}
	}
	if results.accepted != total || sum != total {
		t.Errorf("accepted %d, outcomes %d, of %d", results.accepted, sum, total)
	}
	if stats.Accepted != total || stats.Open != 0 || stats.OctetsOut < 16*stats.Ended[bothends.OK] {
		t.Errorf("%+v", stats)
	}
	t.Logf("%v", results.outcomes)
	if n := openFiles(t); n > files-1 { // the listener is closed
		t.Errorf("%d descriptors before, %d after", files, n)
	}
}

// watchStats checks the server's Stats until the function that it returns is called.
// In each snapshot, Accepted must be the sum of Ended and Open.
func watchStats(t *testing.T, s *bothends.Server) (stop func()) {
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		last := bothends.Stats{}
		for snapshots := 0; ; snapshots++ {
			stats := s.Stats()
			if stats.Accepted != stats.Open+stats.Ended.Sum() || stats.Accepted < last.Accepted || stats.OctetsIn < last.OctetsIn {
				t.Errorf("snapshot %d does not add up: %+v", snapshots, stats)
			}
			last = stats
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return func() {
		close(done)
		watching.Wait()
	}
}

// misbehave makes one connection and returns the expected outcome.
func misbehave(t *testing.T, addr string, random *rand.Rand) bothends.Outcome {
	dialed, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return bothends.OK
	}
	conn := dialed.(*net.TCPConn)
	defer conn.Close()
	n := random.IntN(16)
	switch random.IntN(20) {
	case 0, 1:
		conn.Write([]byte(sixteen[:n]))
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
		if n == 0 {
			return bothends.Closed
		}
		return bothends.Short
	case 2, 3:
		conn.Write([]byte(sixteen[:n]))
		conn.SetLinger(0)
		return bothends.Reset
	case 4:
		conn.Write([]byte(sixteen[:n]))
		io.Copy(io.Discard, conn) // until the server closes
		return bothends.Timeout
	case 5, 6:
		conn.Write([]byte(sixteen[:n]))
		conn.Write([]byte(sixteen[n:]))
		conn.SetLinger(0) // reset without reading the reply; the server has the whole request
		io.ReadFull(conn, make([]byte, 16))
		return bothends.OK
	}
	conn.Write([]byte(sixteen))
	if reply, err := io.ReadAll(conn); string(reply) != farewell || err != nil {
		t.Errorf("%q, %v", reply, err)
	}
	return bothends.OK
}
