package bothends_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/memnet"
)

// Connections and exchanges are counted separately. Octets and partial reads are exact at
// any time.
func TestStatsOfPersistentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		s := &bothends.Server{Persistent: true}
		serve(t, s, ln)
		conn, err := ln.Dial(t.Context(), "tcp", "")
		if err != nil {
			t.Fatal(err)
		}
		for n := range int64(3) {
			conn.Write([]byte(sixteen[:5])) // three pieces, two partial reads
			synctest.Wait()
			conn.Write([]byte(sixteen[5:15]))
			synctest.Wait()
			conn.Write([]byte(sixteen[15:]))
			bothends.ReadMessage(conn, make([]byte, 16))
			synctest.Wait()
			want := bothends.Stats{Accepted: 1, Open: 1, OctetsIn: 16 * (n + 1), OctetsOut: 16 * (n + 1), PartialReads: 2 * (n + 1)}
			want.Exchanges[bothends.OK] = n + 1
			if got := s.Stats(); got != want {
				t.Errorf("after exchange %d: %+v", n+1, got)
			}
		}
		conn.Write([]byte(sixteen[:3]))
		conn.Close()
		synctest.Wait()
		want := bothends.Stats{Accepted: 1, OctetsIn: 51, OctetsOut: 48, PartialReads: 7}
		want.Exchanges[bothends.OK], want.Exchanges[bothends.Short], want.Ended[bothends.Short] = 3, 1, 1
		if got := s.Stats(); got != want {
			t.Errorf("at the end: %+v, want %+v", got, want)
		}
	})
}

// Admit rejects a connection before the server reads from it.
func TestAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		reasons := make(chan error, 1)
		ended := make(chan error, 1)
		received := 0
		s := &bothends.Server{
			Timeout: time.Second,
			Admit:   func(net.Conn) error { return <-reasons },
			TraceConn: func(net.Conn) *bothends.Trace {
				return &bothends.Trace{Received: func(bothends.Transfer) { received++ }, Done: func(err error) { ended <- err }}
			},
		}
		serve(t, s, ln)
		full := errors.New("the table is full")
		for _, c := range []struct {
			err  error
			want bothends.Outcome
		}{
			{full, bothends.Denied},
			{bothends.ErrDenied, bothends.Denied},
			{io.EOF, bothends.Closed}, // in a header that Admit reads
		} {
			reasons <- c.err
			reply, err := memClient(ln).Exchange(t.Context(), "localhost:1060", []byte(sixteen))
			if outcome := bothends.Classify(err); outcome != bothends.Closed && outcome != bothends.Reset {
				t.Errorf("the client got %q, %v", reply, err)
			}
			err = <-ended
			if bothends.Classify(err) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%v: %v is %v, want %v", c.err, err, bothends.Classify(err), c.want)
			}
		}
		if received != 0 {
			t.Errorf("%d reads", received)
		}
		reasons <- nil
		mustExchange(t, memClient(ln), "localhost:1060")
		if err := <-ended; err != nil {
			t.Error(err)
		}
		stats := s.Stats()
		if stats.Accepted != 4 || stats.Ended[bothends.Denied] != 2 || stats.Exchanges[bothends.Denied] != 2 || stats.Ended[bothends.OK] != 1 {
			t.Errorf("%+v", stats)
		}
	})
}

// The deadline of the exchange and Close apply to an Admit that reads.
func TestAdmitThatReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		ended := make(chan error, 1)
		s := &bothends.Server{
			Timeout: 3 * time.Second,
			Admit: func(c net.Conn) error {
				_, err := c.Read(make([]byte, 1))
				return err
			},
			TraceConn: func(net.Conn) *bothends.Trace { return &bothends.Trace{Done: func(err error) { ended <- err }} },
		}
		serve(t, s, ln)
		start := time.Now()
		conn, _ := ln.Dial(t.Context(), "tcp", "")
		defer conn.Close()
		if err := <-ended; bothends.Classify(err) != bothends.Timeout || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		other, _ := ln.Dial(t.Context(), "tcp", "")
		defer other.Close()
		synctest.Wait()
		s.Close()
		if err := <-ended; bothends.Classify(err) != bothends.Canceled {
			t.Errorf("after Close: %v", err)
		}
	})
}
