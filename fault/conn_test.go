package fault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends/memnet"
)

const sixteen = "Farewell, client"

func parse(t testing.TB, text string) Fault {
	t.Helper()
	f, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// struckTexts is Struck as text.
func struckTexts(c net.Conn) (texts []string) {
	for _, f := range Struck(c) {
		texts = append(texts, f.String())
	}
	return texts
}

// arrivals is what the other end reads and when, until the end, and the end.
func arrivals(c net.Conn) string {
	start, text, p := time.Now(), "", make([]byte, 64)
	for {
		n, err := c.Read(p)
		if n > 0 {
			text += fmt.Sprintf("%v %s, ", time.Since(start), p[:n])
		}
		if err == io.EOF {
			return text + fmt.Sprintf("%v EOF", time.Since(start))
		} else if err != nil {
			return text + fmt.Sprintf("%v error", time.Since(start))
		}
	}
}

// Each case writes these texts one after the other, and closes.
func TestWhatArrivesWhen(t *testing.T) {
	for _, c := range []struct {
		fault  string
		writes []string
		want   string
		struck []string
	}{
		{"delay:20ms", []string{"abc", "d"}, "20ms abc, 20ms d, 20ms EOF", []string{"delay:20ms"}},
		{"drip:3/5ms", []string{"abcdefgh"}, "0s abc, 5ms def, 10ms gh, 10ms EOF", []string{"drip:3/5ms"}},
		{"drip:3/5ms", []string{"abc"}, "0s abc, 0s EOF", nil},
		{"drip:3/5ms", []string{"abcd", "e"}, "0s abc, 5ms d, 10ms e, 10ms EOF", []string{"drip:3/5ms"}},
		{"drip:2", []string{"abcde"}, "0s ab, 0s cd, 0s e, 0s EOF", nil},
		{"rate:4", []string{"ab", "c"}, "250ms a, 500ms b, 750ms c, 750ms EOF", []string{"rate:4"}},
		{"rate:1000", []string{sixteen}, "10ms Farewell, , 16ms client, 16ms EOF", []string{"rate:1000"}},
		{"rate:1000+delay:5ms", []string{"abcdefghijklmnopqrst"}, "15ms abcdefghij, 25ms klmnopqrst, 25ms EOF", []string{"rate:1000", "delay:5ms"}},
		{"rate:1000+delay:50ms", []string{"abcdefghijklmnopqrst"}, "60ms abcdefghij, 70ms klmnopqrst, 70ms EOF", []string{"rate:1000", "delay:50ms"}},
		{"corrupt:4", []string{"abcd", "efg"}, "0s abcd, 0s dfg, 0s EOF", []string{"corrupt:4"}},
		{"corrupt:7", []string{"abcd", "efg"}, "0s abcd, 0s efg, 0s EOF", nil},
		{"close:4", []string{"ab", "cdef", "gh"}, "0s ab, 0s cd, 0s EOF", []string{"close:4"}},
		{"close:4", []string{"abc"}, "0s abc, 0s EOF", nil},
		{"close", []string{"abc"}, "0s EOF", []string{"close:0"}},
		{"halfclose:4", []string{"abcdef"}, "0s abcd, 0s EOF", []string{"halfclose:4"}},
		{"reset:4", []string{"abcdef"}, "0s abcd, 0s error", []string{"reset:4"}},
		{"reset", []string{"abcdef"}, "0s error", []string{"reset:0"}},
		{"refuse", []string{"abcdef"}, "0s error", []string{"refuse"}},
		// Leftmost is nearest to the program.
		{"drip:3/5ms+delay:20ms", []string{"abcdef"}, "20ms abc, 25ms def, 25ms EOF", []string{"drip:3/5ms", "delay:20ms"}},
		{"delay:20ms+drip:3/5ms", []string{"abcdef"}, "20ms abc, 25ms def, 25ms EOF", []string{"delay:20ms", "drip:3/5ms"}},
		{"delay:20ms+delay:10ms", []string{"abc", "d"}, "30ms abc, 30ms d, 30ms EOF", []string{"delay:20ms", "delay:10ms"}},
		{"delay:20ms+reset:4", []string{"ab", "cdef"}, "20ms ab, 20ms cd, 20ms error", []string{"delay:20ms", "reset:4"}},
		{"reset:4+delay:20ms", []string{"ab", "cdef"}, "20ms ab, 20ms cd, 20ms error", []string{"reset:4", "delay:20ms"}},
		{"reset+delay:20ms", []string{"ab"}, "20ms error", []string{"reset:0"}},
		{"delay:20ms+close:4", []string{"abcdef"}, "20ms abcd, 20ms EOF", []string{"delay:20ms", "close:4"}},
		{"close:4+delay:20ms", []string{"abcdef"}, "20ms abcd, 20ms EOF", []string{"close:4", "delay:20ms"}},
		{"halfclose:4+delay:20ms", []string{"abcdef"}, "20ms abcd, 20ms EOF", []string{"halfclose:4", "delay:20ms"}},
		{"delay:20ms+corrupt:1", []string{"abc"}, "20ms acc, 20ms EOF", []string{"delay:20ms", "corrupt:1"}},
		{"delay:20ms+rate:1000", []string{"abcdefghijklmnopqrst"}, "30ms abcdefghij, 40ms klmnopqrst, 40ms EOF", []string{"delay:20ms", "rate:1000"}},
		{"reset:8+delay:20ms+close:4", []string{"abcdef", "ghijk"}, "20ms abcd, 20ms EOF", []string{"delay:20ms", "close:4"}},
		{"close:4+delay:20ms+reset:4", []string{"abcdef"}, "20ms abcd, 20ms error", []string{"delay:20ms", "reset:4"}},
		{"drip:3/5ms+close:4", []string{"abcdef"}, "0s abc, 5ms d, 5ms EOF", []string{"drip:3/5ms", "close:4"}},
		{"close:4+drip:3/5ms", []string{"abcdef"}, "0s abc, 5ms d, 5ms EOF", []string{"close:4", "drip:3/5ms"}},
		{"reset:8+close:4", []string{"abcdef", "ghijk"}, "0s abcd, 0s EOF", []string{"close:4"}},
		{"slowclose:2s", []string{"abc", "d"}, "0s abc, 0s d, 2s EOF", []string{"slowclose:2s"}},
		{"drip:3/5ms+slowclose:2s", []string{"abcd"}, "0s abc, 5ms d, 2.005s EOF", []string{"drip:3/5ms", "slowclose:2s"}},
		{"delay:1s+slowclose:2s", []string{"ab"}, "1s ab, 3s EOF", []string{"delay:1s", "slowclose:2s"}},
		{"discard:2", []string{"abc", "d"}, "0s ab, 0s EOF", []string{"discard:2"}}, // the FIN is of Close
		{"delay:1s+discard:1", []string{"abc"}, "1s a, 1s EOF", []string{"delay:1s", "discard:1"}},
		{"reset@5s", []string{"abc"}, "0s abc, 0s EOF", nil},
		{"reset@0", []string{"abc"}, "0s error", []string{"reset@0s"}},
		{"corrupt:1+corrupt:1", []string{"abc"}, "0s abc, 0s EOF", []string{"corrupt:1", "corrupt:1"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			faulty := Conn(near, parse(t, c.fault))
			got := make(chan string)
			go func() {
				text := arrivals(far)
				far.Close()
				got <- text
			}()
			synctest.Wait()
			for _, w := range c.writes {
				faulty.Write([]byte(w))
				synctest.Wait()
			}
			faulty.Close()
			if text := <-got; text != c.want {
				t.Errorf("%s: %s; want %s", c.fault, text, c.want)
			}
			if s := struckTexts(faulty); !reflect.DeepEqual(s, c.struck) {
				t.Errorf("%s: struck %q, want %q", c.fault, s, c.struck)
			}
		})
	}
}

// A pause that has passed while the program wrote nothing is not made again.
func TestPausesCountFromTheLastPiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, f := range []Fault{Drip(3, 5*time.Second), Rate(1)} {
			near, _ := memnet.Pipe()
			c := Conn(near, f)
			c.Write([]byte("a"))
			time.Sleep(time.Minute)
			start := time.Now()
			c.Write([]byte("b"))
			if d := time.Since(start); d > time.Second {
				t.Errorf("%s: %v after a minute", f, d)
			}
			c.Close()
		}
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, f := range []string{"stall:4", "hang"} {
			near, far := memnet.Pipe()
			c := Conn(near, parse(t, f))
			sent := 0
			if f == "stall:4" {
				sent = 4
				if n, err := c.Write([]byte("ab")); n != 2 || err != nil {
					t.Errorf("before it: %d, %v", n, err)
				}
				if n, err := c.Write([]byte("cd")); n != 2 || err != nil {
					t.Errorf("up to it: %d, %v", n, err)
				}
			}
			if err := c.(*conn).CloseWrite(); err != nil {
				t.Error(err)
			}
			c.SetWriteDeadline(time.Now().Add(time.Minute))
			start := time.Now()
			if n, err := c.Write([]byte("efg")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
				t.Errorf("%s: %d, %v after %v", f, n, err, time.Since(start))
			}
			if s := struckTexts(c); !reflect.DeepEqual(s, []string{f}) {
				t.Errorf("struck %q", s)
			}
			// Nothing is sent, not even a FIN, and what the peer sends is read.
			p := make([]byte, 8)
			far.SetReadDeadline(time.Now().Add(time.Hour))
			n, _ := io.ReadFull(far, p[:sent])
			if _, err := far.Read(p); n != sent || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the peer got %d octets and then %v", f, n, err)
			}
			far.Write([]byte("x"))
			if n, err := c.Read(p); n != 1 || err != nil {
				t.Errorf("Read = %d, %v", n, err)
			}
			c.Close()
		}
	})
}

// What interrupts a Write that a fault holds, and what it then returns.
func TestDeadlineAndCloseEndEveryPause(t *testing.T) {
	interruptions := map[string]func(net.Conn) error{
		"deadline":       func(c net.Conn) error { c.SetWriteDeadline(time.Now()); return os.ErrDeadlineExceeded },
		"later deadline": func(c net.Conn) error { c.SetDeadline(time.Now().Add(0)); return os.ErrDeadlineExceeded },
		"close":          func(c net.Conn) error { c.Close(); return net.ErrClosed },
	}
	for _, f := range []string{"drip:4/1h", "rate:1", "stall:4", "hang", "drip:4/1h+delay:0s+stall:4"} {
		for name, interrupt := range interruptions {
			synctest.Test(t, func(t *testing.T) {
				near, far := memnet.Pipe()
				defer far.Close()
				c := Conn(near, parse(t, f))
				defer c.Close()
				// A deadline of long ago must be forgotten, one of the far future changed.
				c.SetWriteDeadline(time.Unix(1, 0))
				if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: a deadline that has passed: %v", f, err)
				}
				c.SetDeadline(time.Now().Add(24 * time.Hour))
				type result struct {
					n   int
					err error
				}
				results := make(chan result, 2)
				write := func() {
					n, err := c.Write(bytes.Repeat([]byte("x"), 4000))
					results <- result{n, err}
				}
				go write()
				time.Sleep(4500 * time.Millisecond)
				go write() // waits for the first
				synctest.Wait()
				want, start := interrupt(c), time.Now()
				for n := range 2 {
					r := <-results
					var netErr net.Error
					if r.n > 4 || !errors.Is(r.err, want) || time.Since(start) != 0 {
						t.Errorf("%s, %s, %d: %d, %v after %v", f, name, n, r.n, r.err, time.Since(start))
					}
					if want == os.ErrDeadlineExceeded && !(errors.As(r.err, &netErr) && netErr.Timeout()) {
						t.Errorf("%v is no timeout", r.err)
					}
				}
			})
		}
	}
}

func TestErrors(t *testing.T) {
	for fault, want := range map[string]struct {
		text string
		err  error
	}{
		"reset:10":    {"write tcp 127.0.0.1:50000->127.0.0.1:1060: write: connection reset by peer (fault reset:10)", syscall.ECONNRESET},
		"close:1":     {"write tcp 127.0.0.1:50000->127.0.0.1:1060: use of closed network connection (fault close:1)", net.ErrClosed},
		"halfclose:3": {"write tcp 127.0.0.1:50000->127.0.0.1:1060: write: broken pipe (fault halfclose:3)", syscall.EPIPE},
		"refuse":      {"write tcp 127.0.0.1:50000->127.0.0.1:1060: write: connection reset by peer (fault refuse)", syscall.ECONNRESET},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			c := Conn(near, parse(t, fault))
			go func() { io.Copy(io.Discard, far); far.Close() }()
			n, err := c.Write([]byte(sixteen))
			var struck *Error
			if !errors.As(err, &struck) || struck.After != n || struck.Fault.String() != fault || !errors.Is(err, want.err) || err.Error() != want.text {
				t.Errorf("%d, %v (%v)", n, err, errors.Unwrap(err))
			}
			if n, again := c.Write([]byte("x")); n != 0 || again != err {
				t.Errorf("the next Write: %d, %v", n, again)
			}
			if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Errorf("CloseWrite: %v", err)
			}
			for range 2 {
				if err := c.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
		})
	}
}

func TestHalfCloseGoesOnReading(t *testing.T) {
	near, far := memnet.Pipe()
	c := Conn(near, HalfClose(1))
	c.Write([]byte("ab"))
	if got, err := io.ReadAll(far); string(got) != "a" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	far.Write([]byte("reply"))
	far.Close()
	if got, err := io.ReadAll(c); string(got) != "reply" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	c.Close()
}

// Closing waits for the peer as long as it says, and no longer than the deadline.
func TestCloseDrains(t *testing.T) {
	for _, deadline := range []time.Duration{0, 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			c := Conn(near, Close(4))
			c.SetReadDeadline(time.Unix(1, 0)) // the program's, and no reason to hurry
			if deadline > 0 {
				c.SetWriteDeadline(time.Now().Add(deadline))
			}
			far.Write([]byte("unread"))
			start := time.Now()
			n, err := c.Write([]byte(sixteen))
			want := drainTime
			if deadline > 0 {
				want = deadline
			}
			if n != 4 || !errors.Is(err, net.ErrClosed) || time.Since(start) != want {
				t.Errorf("%d, %v after %v", n, err, time.Since(start))
			}
			if _, err := near.Write(nil); !errors.Is(err, net.ErrClosed) && err != nil {
				t.Errorf("not closed: %v", err)
			}
			if got, err := io.ReadAll(far); string(got) != "Fare" || err != nil {
				t.Errorf("the peer read %q, %v", got, err)
			}
		})
	}
}

func TestCloseWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		defer far.Close()
		c := Conn(near, Close(0))
		ended := make(chan error)
		go func() { _, err := c.Write([]byte("x")); ended <- err }()
		synctest.Wait()
		start := time.Now()
		c.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// What the program wrote stays as it was; concurrent Writes do not mix.
func TestWritesAreWhole(t *testing.T) {
	near, far := memnet.Pipe()
	c := Conn(near, parse(t, "drip:1+corrupt:0"))
	var writers sync.WaitGroup
	for _, w := range []string{"aaaaaaaa", "bbbbbbbb", "cccccccc"} {
		writers.Go(func() {
			p := []byte(w)
			if n, err := c.Write(p); n != len(w) || err != nil || string(p) != w {
				t.Errorf("%d, %v, %q", n, err, p)
			}
		})
	}
	writers.Wait()
	c.Close()
	got, _ := io.ReadAll(far)
	got[0] ^= 1
	for _, w := range []string{"aaaaaaaa", "bbbbbbbb", "cccccccc"} {
		if !strings.Contains(string(got), w) {
			t.Errorf("%q has no %s", got, w)
		}
	}
}

// A program may wait with CloseWrite for a Write in another goroutine.
func TestFINComesAfterTheOctets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		c := Conn(near, Drip(1, time.Second))
		go c.Write([]byte("abc"))
		synctest.Wait()
		go c.(*conn).CloseWrite()
		if got := arrivals(far); got != "0s a, 1s b, 2s c, 2s EOF" {
			t.Error(got)
		}
		c.Close()
	})
}

// Connections that are not TCP: no half-close, no reset, and no panic.
func TestPipe(t *testing.T) {
	for _, f := range []string{"close:2", "halfclose:2", "reset:2", "refuse"} {
		near, far := net.Pipe()
		c := Conn(near, parse(t, f))
		got := make(chan string)
		go func() { p, _ := io.ReadAll(far); got <- string(p) }()
		n, err := c.Write([]byte("abc"))
		var struck *Error
		if !errors.As(err, &struck) || n != struck.After {
			t.Errorf("%s: %d, %v", f, n, err)
		}
		if f == "halfclose:2" { // the others have closed it
			c.Close()
		}
		if p := <-got; len(p) != n {
			t.Errorf("%s: %d written, %q read", f, n, p)
		}
		c.Close()
	}
	near, _ := net.Pipe()
	defer near.Close()
	if err := Conn(near, Delay(1)).(*conn).CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite: %v", err)
	}
}

func TestStruckLooksBelow(t *testing.T) {
	near, far := memnet.Pipe()
	go io.Copy(io.Discard, far)
	inner := Conn(near, Corrupt(0))
	c := Conn(inner, Join(Delay(time.Millisecond), Corrupt(99)))
	c.Write([]byte("x"))
	Flush(c)
	if got := struckTexts(c); !reflect.DeepEqual(got, []string{"delay:1ms", "corrupt:0"}) {
		t.Errorf("%q", got)
	}
	c.Close()
	if got := struckTexts(near); got != nil {
		t.Errorf("%q", got)
	}
}

// What strikes at a time does so while the program does not write, or is in a Write.
func TestTimedFaults(t *testing.T) {
	for _, c := range []struct {
		fault, idle, writing string // what the peer gets
		want                 error  // of the Write
	}{
		{"reset@2s", "2s error", "0s ab, 1.5s cd, 2s error", syscall.ECONNRESET},
		{"close@2s", "2s EOF", "0s ab, 1.5s cd, 2s EOF", net.ErrClosed},
		{"halfclose@2s", "2s EOF", "0s ab, 1.5s cd, 2s EOF", syscall.EPIPE},
		{"stall@2s", "1m0s error", "0s ab, 1.5s cd, 1m0s error", os.ErrDeadlineExceeded},
		{"discard@2s", "1m0s error", "0s ab, 1.5s cd, 1m0s error", nil},
		{"close@2s+delay:1200ms", "3.2s EOF", "1.2s ab, 2.7s cd, 3.2s EOF", net.ErrClosed},
		{"reset@2s+delay:1s", "2s error", "1s ab, 2s error", syscall.ECONNRESET},
		{"discard+close@2s", "2s EOF", "2s EOF", net.ErrClosed}, // toxiproxy's timeout
	} {
		for _, writes := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				near, far := memnet.Pipe()
				far.SetDeadline(time.Now().Add(time.Minute))
				faulty := Conn(near, parse(t, "drip:2/1500ms+"+c.fault))
				faulty.SetWriteDeadline(time.Now().Add(time.Minute))
				want := c.idle
				var writing sync.WaitGroup
				if writes {
					want = c.writing
					writing.Go(func() {
						_, err := faulty.Write([]byte("abcdefgh"))
						if own := (*Error)(nil); !errors.Is(err, c.want) || (errors.As(err, &own) && own.After > 4) {
							t.Errorf("%s: Write: %v", c.fault, err)
						}
					})
				}
				if got := arrivals(far); got != want {
					t.Errorf("%s, %v: %s; want %s", c.fault, writes, got, want)
				}
				far.Close()
				writing.Wait()
				faulty.Close()
			})
		}
	}
}

// A Write that is under way ends with the fault, also if the peer does not close.
func TestTimedFaultEndsAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		faulty := Conn(near, parse(t, "drip:2/1500ms+close@1s"))
		start := time.Now()
		n, err := faulty.Write([]byte("abcd"))
		if own := (*Error)(nil); n != 2 || !errors.As(err, &own) || time.Since(start) != time.Second {
			t.Errorf("%d, %v after %v", n, err, time.Since(start))
		}
		faulty.Close()
		far.Close()
	})
}

// A timer of a fault ends with the connection and with the setting.
func TestTimersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		s := NewSwitch(ResetAt(time.Second), 0)
		c := s.Conn(near)
		s.Set(CloseAt(time.Hour))
		time.Sleep(2 * time.Second)
		if n, err := c.Write([]byte("a")); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		c.Close()
		time.Sleep(2 * time.Hour)
		if got := Struck(c); got != nil {
			t.Errorf("%q", got)
		}
		far.Close()
	})
}

// A latency varies within its limits, octets stay in order, and a seed repeats it.
func TestJitter(t *testing.T) {
	run := func(seed uint64) (latencies []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			c := New(Jitter(20*time.Millisecond, 15*time.Millisecond), seed).Conn(near)
			go func() {
				for n := range 100 {
					c.Write([]byte{byte(n)})
					time.Sleep(10 * time.Millisecond)
				}
				c.Close()
			}()
			for n, start := 0, time.Now(); n < 100; n++ {
				p := make([]byte, 1)
				if _, err := far.Read(p); err != nil || p[0] != byte(n) {
					t.Fatalf("octet %d: %d, %v", n, p[0], err)
				}
				latencies = append(latencies, time.Since(start)-time.Duration(n)*10*time.Millisecond)
			}
			io.Copy(io.Discard, far)
			far.Close()
		})
		return latencies
	}
	one, again, other := run(1), run(1), run(2)
	if slices.Min(one) < 5*time.Millisecond || slices.Max(one) > 35*time.Millisecond || slices.Max(one)-slices.Min(one) < 20*time.Millisecond {
		t.Errorf("between %v and %v", slices.Min(one), slices.Max(one))
	}
	if !slices.Equal(one, again) || slices.Equal(one, other) {
		t.Error("the seed does not decide")
	}
}

func TestDripVaries(t *testing.T) {
	near, far := memnet.Pipe()
	c := Conn(near, DripVaried(4, 3, 0))
	c.Write(make([]byte, 1000))
	c.Close()
	sizes := make(map[int]bool)
	for p := make([]byte, 64); ; {
		n, err := far.Read(p)
		if err != nil {
			break
		}
		sizes[n] = true
	}
	for n := range sizes {
		if n < 1 || n > 7 || len(sizes) < 7 {
			t.Fatalf("pieces of %v", sizes)
		}
	}
}

// Of Refuse and Hang the leftmost acts.
func TestLeftmostRejectionActs(t *testing.T) {
	for text, want := range map[string]error{"hang+refuse": os.ErrDeadlineExceeded, "refuse+hang": syscall.ECONNRESET} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			c := Conn(near, parse(t, text))
			far.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, want) {
				t.Errorf("%s: %v", text, err)
			}
			c.Close()
			far.Close()
		})
	}
}
