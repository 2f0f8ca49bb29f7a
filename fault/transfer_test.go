package fault

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/bothends/bothends/internal/tcpconn"
	"github.com/bothends/bothends/memnet"
)

// test/fault-switch.sh sets more.
var (
	transferOctets   = flag.Int64("switch.octets", 8<<20, "octets that TestSwitchOverTCP transfers each way")
	transferSettings = flag.Int("switch.settings", 100, "faults that TestSwitchOverTCP sets")
)

// A counter counts what is read through it.
type counter struct {
	io.Reader
	octets *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.octets.Add(int64(n))
	return n, err
}

// transfer sends pseudorandom octets from one end to the other, then FIN, and compares the
// sums.
func transfer(t *testing.T, from, to net.Conn, seed byte, received *atomic.Int64) {
	var receiving sync.WaitGroup
	got := sha256.New()
	receiving.Go(func() {
		if n, err := io.Copy(got, counter{to, received}); n != *transferOctets || err != nil {
			t.Errorf("received %d octets, %v", n, err)
		}
	})
	sent := sha256.New()
	source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{seed}), *transferOctets), sent)
	if n, err := io.Copy(struct{ io.Writer }{from}, source); n != *transferOctets || err != nil {
		t.Errorf("sent %d octets, %v", n, err)
	}
	if err := tcpconn.CloseWrite(from); err != nil {
		t.Error(err)
	}
	receiving.Wait()
	if !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("sha256 %x, want %x", got.Sum(nil), sent.Sum(nil))
	}
}

// Over the kernel's TCP, in both directions, while the fault changes: sha256 of what
// arrives is that of what was sent. A fault is replaced when its share of the octets has
// arrived, or after 5 ms, because some let nothing pass.
func TestSwitchOverTCP(t *testing.T) {
	faults := []string{
		"", "delay:1ms", "reads(delay:1ms)", "delay:3ms~2ms+reads(drip:16000/10us)", "rate:500000000+reads(rate:500000000)", "stall:100000",
		"reads(stall:100000)", "delay:1h+reads(delay:1h)", "drip:30000~20000/10us", "delay:1ms+stall:1000+delay:1ms", "hang+reads(hang)",
	}
	ln := loopback(t)
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := NewSwitch(Fault{}, 1)
	faulty := s.Conn(client)
	var transfers sync.WaitGroup
	var received atomic.Int64
	transfers.Go(func() { transfer(t, faulty, server, 1, &received) })
	transfers.Go(func() { transfer(t, server, faulty, 2, &received) })
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	settings := *transferSettings
	for n := range settings {
		s.Set(parse(t, faults[n%len(faults)]))
		share := 2 * *transferOctets * int64(n+1) / int64(settings)
		for end := time.Now().Add(5 * time.Millisecond); received.Load() < share && time.Now().Before(end); {
			<-tick.C
		}
	}
	t.Logf("%d settings, of %d octets %d have arrived", settings, 2**transferOctets, received.Load())
	s.Set(Fault{})
	transfers.Wait()
	faulty.Close()
	server.Close()
}

// A connection with faults that change nothing of what is said is a net.Conn like others.
func TestConnIsANetConn(t *testing.T) {
	for _, f := range []string{"", "reads(drip:1000)", "reads(delay:1us)", "drip:50000", "rate:2000000000"} {
		t.Run(f, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				a, b := memnet.Pipe()
				c1 = NewSwitch(parse(t, f), 0).Conn(a)
				return c1, b, func() { c1.Close(); b.Close() }, nil
			})
		})
	}
}

// What the code under test gets is what package net makes of the kernel's errors.
func TestErrorsAreTheKernels(t *testing.T) {
	client, server := pair(t, Fault{})
	server.(*net.TCPConn).SetLinger(0)
	server.Close()
	_, kernels := client.Read(make([]byte, 1))
	_, faulty := pair(t, Reset(0))
	_, ours := faulty.Write([]byte("x"))
	_, read := faulty.Read(make([]byte, 1))
	for _, err := range []error{ours, read} {
		var a, b *net.OpError
		if !errors.As(kernels, &a) || !errors.As(err, &b) || a.Net != b.Net || b.Source == nil || b.Addr == nil {
			t.Errorf("%#v, and the kernel's is %#v", err, kernels)
		}
		if _, ok := err.(net.Error); !ok || isReset(err) != isReset(kernels) || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v, and the kernel's is %v", err, kernels)
		}
		if own := (*Error)(nil); !errors.As(err, &own) || own.Fault.String() != "reset:0" {
			t.Errorf("%v: no fault", err)
		}
	}
}
