package fault

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends/memnet"
)

// Each case is what the program reads when the peer writes these texts and closes.
func TestWhatIsRead(t *testing.T) {
	for _, c := range []struct {
		fault  string
		writes []string
		want   string
		struck []string
	}{
		{"reads(delay:20ms)", []string{"abc", "d"}, "20ms abc, 20ms d, 20ms EOF", []string{"reads(delay:20ms)"}},
		{"reads(drip:3/5ms)", []string{"abcdefgh"}, "0s abc, 5ms def, 10ms gh, 10ms EOF", []string{"reads(drip:3/5ms)"}},
		{"reads(rate:4)", []string{"ab", "c"}, "250ms a, 500ms b, 750ms c, 750ms EOF", []string{"reads(rate:4)"}},
		{"reads(corrupt:4)", []string{"abcd", "efg"}, "0s abcd, 0s dfg, 0s EOF", []string{"reads(corrupt:4)"}},
		{"reads(slowclose:2s)", []string{"abcd"}, "0s abcd, 2s EOF", []string{"reads(slowclose:2s)"}},
		{"reads(close:4)", []string{"ab", "cdef", "gh"}, "0s ab, 0s cd, 0s EOF", []string{"reads(close:4)"}},
		{"reads(halfclose)", []string{"ab"}, "0s EOF", []string{"reads(halfclose:0)"}},
		{"reads(reset:4)", []string{"abcdef"}, "0s abcd, 0s error", []string{"reads(reset:4)"}},
		{"reads(reset@3s)", []string{"abc"}, "0s abc, 3s error", []string{"reads(reset@3s)"}},
		{"reads(close@3s)", []string{"abc"}, "0s abc, 3s EOF", []string{"reads(close@3s)"}},
		{"reads(refuse)", []string{"abc"}, "0s error", []string{"reads(refuse)"}},
		{"reads(stall:2)", []string{"abc"}, "0s ab, 1h0m0s error", []string{"reads(stall:2)"}},
		{"reads(discard:2)", []string{"abc"}, "0s ab, 1h0m0s error", []string{"reads(discard:2)"}},
		{"reads(drip:2/1s+reset:4)", []string{"abcdef"}, "0s ab, 1s cd, 1s error", []string{"reads(drip:2/1s)", "reads(reset:4)"}},
		{"corrupt:0+reads(first:1(corrupt:0))", []string{"abc"}, "0s `bc, 0s EOF", []string{"reads(corrupt:0)"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			faulty := Conn(near, parse(t, c.fault))
			faulty.SetReadDeadline(time.Now().Add(time.Hour))
			var writing sync.WaitGroup
			writing.Go(func() {
				for _, w := range c.writes {
					synctest.Wait()
					far.Write([]byte(w))
				}
				if c.fault != "reads(reset@3s)" && c.fault != "reads(close@3s)" {
					far.CloseWrite()
				}
			})
			if text := arrivals(faulty); text != c.want {
				t.Errorf("%s: %s; want %s", c.fault, text, c.want)
			}
			if s := struckTexts(faulty); !reflect.DeepEqual(s, c.struck) {
				t.Errorf("%s: struck %q, want %q", c.fault, s, c.struck)
			}
			writing.Wait()
			faulty.Close()
			far.Close()
		})
	}
}

// Read and Write return what the kernel would, and the fault is in it.
func TestErrorsOfReads(t *testing.T) {
	for text, want := range map[string]struct{ read, write error }{
		"reads(reset:2)":     {syscall.ECONNRESET, syscall.ECONNRESET},
		"reads(close:2)":     {io.EOF, syscall.EPIPE},
		"reads(halfclose:2)": {io.EOF, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			c := Conn(near, parse(t, text))
			far.Write([]byte("abc"))
			if n, err := io.ReadFull(c, make([]byte, 2)); n != 2 || err != nil {
				t.Errorf("%s: %d, %v", text, n, err)
			}
			var own *Error
			_, err := c.Read(make([]byte, 1))
			if op, ok := err.(*net.OpError); !errors.Is(err, want.read) || err != io.EOF && (!ok || op.Op != "read" || op.Addr != c.RemoteAddr() || !errors.As(err, &own)) {
				t.Errorf("%s: Read: %v", text, err)
			}
			synctest.Wait()
			if _, err := c.Write([]byte("x")); !errors.Is(err, want.write) || err != nil && !errors.As(err, &own) {
				t.Errorf("%s: Write: %v", text, err)
			} else if err != nil && own.Fault.String() != text {
				t.Errorf("%s: by %s", text, own.Fault)
			}
			c.Close()
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: Read after Close: %v", text, err)
			}
		})
	}
}

// What ends the connection below comes after the octets, through the faults.
func TestReadsPassErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		c := Conn(near, Reads(Delay(time.Second)))
		start := time.Now()
		far.Write([]byte("abc"))
		far.Reset()
		got, err := io.ReadAll(c)
		if own := (*Error)(nil); string(got) != "abc" || !errors.Is(err, syscall.ECONNRESET) || errors.As(err, &own) || time.Since(start) != time.Second {
			t.Errorf("%q, %v after %v", got, err, time.Since(start))
		}
		c.Close()
	})
}

// A fault on what is received can be set while a Read waits, and taken away, and no octet
// is lost.
func TestSwitchOfReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		s := NewSwitch(Fault{}, 0)
		c := s.Conn(near)
		got := make(chan string)
		go func() { got <- arrivals(c) }()
		far.Write([]byte("a"))
		synctest.Wait() // the Read waits
		s.Set(Reads(Delay(time.Second)))
		far.Write([]byte("b"))
		time.Sleep(2 * time.Second)
		s.Set(Reads(Stall(1)))
		far.Write([]byte("cde"))
		far.CloseWrite()
		time.Sleep(time.Second)
		s.Set(Fault{})
		if text := <-got; text != "0s a, 1s b, 2s c, 3s de, 3s EOF" {
			t.Error(text)
		}
		c.Close()
	})
}

// The fault also acts on the FIN that ends a Read which was under way when it was set.
func TestSwitchOfReadsBeforeFIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		s := NewSwitch(Fault{}, 0)
		c := s.Conn(near)
		got := make(chan string)
		go func() { got <- arrivals(c) }()
		synctest.Wait()
		s.Set(Reads(SlowClose(time.Second)))
		far.CloseWrite()
		if text := <-got; text != "1s EOF" {
			t.Error(text)
		}
		c.Close()
	})
}

// A deadline that has been set before the fault, or is set after it, ends a Read.
func TestDeadlineOfReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := memnet.Pipe()
		s := NewSwitch(Fault{}, 0)
		c := s.Conn(near)
		start := time.Now()
		c.SetReadDeadline(start.Add(time.Minute))
		s.Set(Reads(Stall(0)))
		for want := time.Minute; want < 3*time.Minute; want += time.Minute {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != want {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			c.SetReadDeadline(time.Now().Add(time.Minute))
		}
		go func() { time.Sleep(time.Second); c.Close() }()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// In a thousand settings on both directions, each end gets what the other has sent.
func TestSwitchKeepsEveryOctetBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := []string{
			"", "reads(delay:1ms)", "delay:1ms+reads(stall:5000)", "reads(drip:900/10us)", "reads(rate:9000000)+stall:3000", "reads(hang)",
			"reads(delay:1h)+delay:1h", "reads(delay:2ms+stall:700)", "reads(delay:3ms~3ms)",
		}
		random := rand.New(rand.NewPCG(1, 0))
		near, far := memnet.Pipe()
		s := NewSwitch(Fault{}, 0)
		c := s.Conn(near)
		var transfers sync.WaitGroup
		for seed, ends := range [][2]interface {
			net.Conn
			CloseWrite() error
		}{{c.(*conn), far}, {far, c.(*conn)}} {
			sums := make(chan [32]byte, 2)
			transfers.Go(func() {
				h, contents, p := sha256.New(), rand.NewChaCha8([32]byte{byte(seed)}), make([]byte, 20_000)
				for range 300 {
					time.Sleep(2 * time.Millisecond)
					contents.Read(p)
					h.Write(p)
					if n, err := ends[0].Write(p); n != len(p) || err != nil {
						t.Errorf("Write = %d, %v", n, err)
					}
				}
				ends[0].CloseWrite()
				sums <- [32]byte(h.Sum(nil))
			})
			transfers.Go(func() {
				h := sha256.New()
				if n, err := io.Copy(h, ends[1]); err != nil {
					t.Errorf("read %d octets, %v", n, err)
				}
				if got := [32]byte(h.Sum(nil)); got != <-sums {
					t.Error("the octets differ")
				}
			})
		}
		for range 1000 {
			time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond)
			s.Set(parse(t, faults[random.IntN(len(faults))]))
		}
		s.Set(Fault{})
		transfers.Wait()
		c.Close()
		far.Close()
	})
}

// On the kernel's connections: the client is cut, and the server sees the RST.
func TestReadsOverTCP(t *testing.T) {
	ln := loopback(t)
	client := Conn(dial(t, ln), Reads(Reset(4)))
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.Write([]byte("abcdef"))
	got, err := io.ReadAll(client)
	if string(got) != "abcd" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q, %v", got, err)
	}
	server.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := server.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("the server: %v", err)
	}
	client.Close()
}

// The listener's connections get faults on what they receive.
func TestReadsOfAListener(t *testing.T) {
	inner := memnet.Listen()
	ln := Listen(inner, FailFirst(1, Reads(Close(1))))
	defer ln.Close()
	for _, want := range []string{"a", "abc"} {
		client, err := inner.Dial(context.Background(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		client.Write([]byte("abc"))
		client.Close()
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(server); string(got) != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		server.Close()
	}
}
