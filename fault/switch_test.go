package fault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends/memnet"
)

// Each case writes ABCDEFGH under the first fault, sets the second after one second, and
// the Write goes on with what the first has not taken.
func TestSwitchInMidWrite(t *testing.T) {
	for _, c := range []struct {
		before, after, want string
	}{
		{"stall:3", "", "0s ABC, 1s DEFGH, 1s IJ, 1s EOF"},
		{"hang", "", "1s ABCDEFGH, 1s IJ, 1s EOF"},
		{"stall:3", "stall:2", "0s ABC, 1s DE, 2s error"},
		{"stall:3", "close:3", "0s ABC, 1s DEF, 1s EOF"},
		{"stall:3", "reset:2", "0s ABC, 1s DE, 1s error"},
		{"stall:3", "refuse", "0s ABC, 1s error"},
		{"stall:3", "corrupt:1", "0s ABC, 1s DDFGH, 1s IJ, 1s EOF"},
		{"stall:3", "delay:1s", "0s ABC, 2s DEFGH, 2s IJ, 2s EOF"},
		{"drip:2/700ms", "", "0s AB, 700ms CD, 1s EFGH, 1s IJ, 1s EOF"},
		{"rate:2", "drip:3/1s", "500ms A, 1s B, 1s CDE, 2s FGH, 3s IJ, 3s EOF"},
		{"delay:1h", "", "1s ABCDEFGH, 1s IJ, 1s EOF"},
		{"delay:1h", "stall:1", "1s ABCDEFGH, 1s I, 2s error"},
		{"delay:1h", "delay:1s", "1s ABCDEFGH, 2s IJ, 2s EOF"},
		{"drip:2/700ms+delay:100ms", "", "100ms AB, 800ms CD, 1s EFGH, 1s IJ, 1s EOF"},
		{"delay:100ms+drip:2/700ms", "", "100ms AB, 800ms CD, 1s EFGH, 1s IJ, 1s EOF"},
		{"delay:100ms+stall:3", "", "100ms ABC, 1s DEFGH, 1s IJ, 1s EOF"},
		{"delay:100ms+drip:2/700ms+delay:300ms", "", "400ms AB, 1s CD, 1s EFGH, 1s IJ, 1s EOF"},
		{"delay:1h+delay:1h", "delay:1s+delay:1s", "1s ABCDEFGH, 3s IJ, 3s EOF"},
		{"", "", "0s ABCDEFGH, 1s IJ, 1s EOF"},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			s := NewSwitch(parse(t, c.before), 0)
			faulty := s.Conn(near)
			got, start := make(chan string, 1), time.Now()
			go func() { got <- arrivals(far); far.Close() }()
			var writing sync.WaitGroup
			writing.Go(func() {
				faulty.Write([]byte("ABCDEFGH"))
				time.Sleep(time.Until(start.Add(time.Second)))
				synctest.Wait()
				faulty.Write([]byte("IJ"))
				faulty.(*conn).CloseWrite()
			})
			time.Sleep(time.Second)
			s.Set(parse(t, c.after))
			if strings.HasSuffix(c.want, "error") {
				time.Sleep(time.Second)
				near.Reset()
				Drop(faulty)
			}
			if text := <-got; text != c.want {
				t.Errorf("%s, then %s: %s; want %s", c.before, c.after, text, c.want)
			}
			writing.Wait()
			faulty.Close()
			synctest.Wait()
			if len(s.conns) > 0 {
				t.Errorf("%s, then %s: the Switch keeps a closed connection", c.before, c.after)
			}
		})
	}
}

// The FIN that a stall has kept back comes after the octets that it holds.
func TestSwitchPaysTheFIN(t *testing.T) {
	for _, c := range []struct{ fault, text string }{
		{"stall:2", "ab"},           // all is sent
		{"stall:2", "abcdef"},       // a Write is blocked
		{"delay:1ms+stall:2", "ab"}, // the stall is met later
	} {
		synctest.Test(t, func(t *testing.T) {
			text := c.text
			near, far := memnet.Pipe()
			s := NewSwitch(parse(t, c.fault), 0)
			faulty := s.Conn(near)
			var writing sync.WaitGroup
			writing.Go(func() {
				if n, err := faulty.Write([]byte(text)); n != len(text) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
			})
			synctest.Wait()
			faulty.(*conn).CloseWrite()
			far.SetReadDeadline(time.Now().Add(time.Second))
			if got, err := io.ReadAll(far); string(got) != "ab" || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("before: %q, %v", got, err)
			}
			far.SetReadDeadline(time.Time{})
			s.Set(Fault{})
			if got, err := io.ReadAll(far); string(got) != text[2:] || err != nil {
				t.Errorf("after: %q, %v", got, err)
			}
			writing.Wait()
			faulty.Close()
		})
	}
}

// What a delay holds arrives after Close too, and at once when the delay is replaced.
func TestSwitchAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		s := NewSwitch(Delay(time.Hour), 0)
		faulty := s.Conn(near)
		faulty.Write([]byte("abc"))
		faulty.Close()
		got := make(chan string)
		go func() { got <- arrivals(far) }()
		time.Sleep(time.Second)
		s.Set(Fault{})
		if text := <-got; text != "1s abc, 1s EOF" {
			t.Error(text)
		}
	})
}

// Close waits for what a replaced delay still holds, because the peer does not read.
func TestSwitchCloseWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		s := NewSwitch(Delay(time.Hour), 0)
		faulty := s.Conn(near)
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
		faulty.Write(sent)
		s.Set(Fault{})
		faulty.Close()
		if got, err := io.ReadAll(far); !bytes.Equal(got, sent) || err != nil {
			t.Errorf("%d octets, %v", len(got), err)
		}
	})
}

// A deadline is that of the program's Write, whichever faults hold it, and is not that of
// the octets that a delay has left.
func TestSwitchKeepsDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		s := NewSwitch(Stall(0), 0)
		faulty := s.Conn(near)
		start := time.Now()
		faulty.SetWriteDeadline(start.Add(time.Minute))
		go func() {
			for range 50 {
				time.Sleep(time.Second)
				s.Set(Stall(1))
			}
		}()
		n, err := faulty.Write(make([]byte, 100))
		if n != 50 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("Write = %d, %v after %v", n, err, time.Since(start))
		}
		s.Set(Fault{})
		faulty.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err = faulty.Write(make([]byte, 1<<20)) // more than there is room for
		if n >= 1<<20 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Minute {
			t.Errorf("Write = %d, %v after %v", n, err, time.Since(start))
		}
		far.Close()
		faulty.Close()

		near, far = memnet.Pipe()
		faulty = s.Conn(near)
		faulty.SetWriteDeadline(time.Now().Add(time.Minute))
		s.Set(Delay(time.Hour))
		faulty.Write(make([]byte, 1<<20))
		s.Set(Delay(time.Hour))
		time.Sleep(2 * time.Minute)
		faulty.Close()
		if got, err := io.ReadAll(far); len(got) != 1<<20 || err != nil {
			t.Errorf("%d octets, %v", len(got), err)
		}
	})
}

// The open connections are the first of a setting, in their order, and the new ones follow.
func TestSwitchConditions(t *testing.T) {
	s := NewSwitch(Fault{}, 7)
	var conns []net.Conn
	open := func() {
		near, far := memnet.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		conns = append(conns, s.Conn(near))
	}
	struck := func() (which []int) {
		for n, c := range conns {
			if _, idle := Idle(c); !idle {
				which = append(which, n)
			}
		}
		return which
	}
	for range 3 {
		open()
	}
	conns[0].Close()
	conns = conns[1:]
	s.Set(FailFirst(3, Stall(9)))
	open()
	open()
	if got := struck(); !reflect.DeepEqual(got, []int{0, 1, 2}) {
		t.Errorf("first:3: %v", got)
	}
	s.SetNew(FailFirst(1, Stall(9)))
	open()
	open()
	if got := struck(); !reflect.DeepEqual(got, []int{0, 1, 2, 4}) {
		t.Errorf("first:1 for new ones: %v", got)
	}
	for range 200 {
		open()
	}
	draw := func(seed uint64) string {
		s.seed, s.settings = seed, 0
		s.Set(Sometimes(0.5, Stall(9)))
		return fmt.Sprint(struck())
	}
	one, again, other := draw(1), draw(1), draw(2)
	s.Set(Sometimes(0.5, Stall(9)))
	if one != again || one == other || fmt.Sprint(struck()) == other {
		t.Error("the seed and the setting do not decide")
	}
}

// A fault that is set before a connection has started to have its first one stays.
func TestSwitchBeforeTheStart(t *testing.T) {
	s := NewSwitch(Join(Refuse(), Reads(Reset(0))), 0)
	near, far := memnet.Pipe()
	s.lock()
	c := s.add(near, s.injector.next())
	s.mu.Unlock()
	s.Set(Fault{})
	c.begin()
	if n, err := c.Write([]byte("abc")); n != 3 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	far.Write([]byte("d"))
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	c.Close()
	far.Close()
}

// What comes to a delay while it is replaced goes on to the next fault.
func TestReleasedLineTakesNothing(t *testing.T) {
	near, far := memnet.Pipe()
	c := newConn(near, drawn{sends: Delay(time.Hour).parts})
	old := c.chain
	c.replace(drawn{})
	if n, _, err := old.lines[0].put(octetsParcel, []byte("a")); n != 0 || err != errReplaced {
		t.Errorf("%d, %v", n, err)
	}
	c.Close()
	far.Close()
}

func TestZeroSwitch(t *testing.T) {
	var s Switch
	if f := s.Fault(); !f.IsZero() {
		t.Errorf("%s", f)
	}
	near, far := memnet.Pipe()
	c := s.Conn(near)
	s.Set(HalfClose(1))
	c.Write([]byte("abc"))
	if got, err := io.ReadAll(far); string(got) != "a" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	var other Switch
	other.Listen(memnet.Listen()).Close()
}

func TestSwitchStruckRemembers(t *testing.T) {
	near, far := memnet.Pipe()
	go io.Copy(io.Discard, far)
	s := NewSwitch(Corrupt(0), 0)
	c := s.Conn(near)
	for range 3 {
		c.Write([]byte("x"))
		s.Set(Corrupt(0))
	}
	s.Set(Close(9))
	if got := struckTexts(c); !reflect.DeepEqual(got, []string{"corrupt:0"}) {
		t.Errorf("%q", got)
	}
	c.Close()
}

// sumSlowly reads to the end, with pauses, so that the Writes below have to wait.
func sumSlowly(from io.Reader, seed uint64) [32]byte {
	h, p, naps := sha256.New(), make([]byte, 9000), rand.New(rand.NewPCG(seed, 2))
	for {
		n, err := from.Read(p)
		h.Write(p[:n])
		if err != nil {
			return [32]byte(h.Sum(nil))
		}
		if naps.IntN(10) == 0 {
			time.Sleep(3 * time.Millisecond)
		}
	}
}

// Every kind of fault that does not take or change octets, a thousand times in a
// transfer: what arrives is what was sent.
func TestSwitchKeepsEveryOctet(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			faults := []string{
				"", "delay:1ms", "delay:7ms", "rate:9000000", "drip:900/10us", "stall:5000", "hang", "delay:2ms+stall:700", "stall:0+delay:1ms",
				"delay:1ms+drip:100/1us+delay:3ms", "delay:1h", "delay:1h+delay:1h", "first:1(delay:5ms)", "50%(stall:100)",
			}
			random := rand.New(rand.NewPCG(seed, 0))
			near, far := memnet.Pipe()
			s := NewSwitch(Fault{}, seed)
			c := s.Conn(near)
			sum := make(chan [32]byte)
			go func() {
				sum <- sumSlowly(far, seed)
			}()
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for n := 0; ; n++ {
					select {
					case <-stop:
						s.Set(Fault{})
						return
					case <-time.After(time.Duration(random.IntN(2000)) * time.Microsecond):
						s.Set(parse(t, faults[random.IntN(len(faults))]))
					}
				}
			}()
			sent, octets := sha256.New(), make([]byte, 70_000)
			writes, contents := rand.New(rand.NewPCG(seed, 1)), rand.NewChaCha8([32]byte{byte(seed)})
			for range 300 {
				time.Sleep(time.Duration(writes.IntN(3000)) * time.Microsecond)
				p := octets[:writes.IntN(len(octets))]
				contents.Read(p)
				sent.Write(p)
				if n, err := c.Write(p); n != len(p) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
			}
			c.(*conn).CloseWrite()
			close(stop)
			<-stopped
			if got := <-sum; got != [32]byte(sent.Sum(nil)) {
				t.Errorf("seed %d: the octets differ", seed)
			}
			c.Close()
			far.Close()
		})
	}
}

// The listener of a Switch refuses and lets in again, also while Accept waits.
func TestSwitchListener(t *testing.T) {
	s := NewSwitch(Fault{}, 0)
	ln := s.Listen(loopback(t))
	answer(t, ln)
	for range 3 {
		if got, err := readAll(ln, 5*time.Second); got != sixteen || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		s.Set(Refuse())
		if _, err := readAll(ln, time.Second); !errors.Is(err, syscall.ECONNREFUSED) && !isReset(err) {
			t.Errorf("refused: %v", err)
		}
		s.Set(Hang())
		if c, err := dialFor(ln, 30*time.Millisecond); err == nil && runtime.GOOS == "linux" {
			t.Error("connected to a listener that hangs")
			c.Close()
		}
		s.Set(Close(4))
		if got, err := readAll(ln, 5*time.Second); got != "Fare" || err != nil {
			t.Errorf("close:4: %q, %v", got, err)
		}
		s.Set(Fault{})
	}
	ln.Close()
	if len(s.listeners) > 0 {
		t.Error("the Switch keeps a closed listener")
	}
}

// Accepted connections get the later faults too.
func TestSwitchStrikesAcceptedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memnet.Listen()
		s := NewSwitch(Fault{}, 0)
		ln := s.Listen(inner)
		defer ln.Close()
		client, _ := inner.Dial(context.Background(), "", "")
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s.Set(Reset(2))
		server.Write([]byte("abc"))
		if got, err := io.ReadAll(client); string(got) != "ab" || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q, %v", got, err)
		}
		client.Close()
	})
}
