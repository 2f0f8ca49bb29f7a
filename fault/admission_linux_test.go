package fault

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eachListener runs a test with the listeners that people have: net.Listen's own, which
// is MPTCP where the kernel has it, plain TCP, and one whose port they chose.
func eachListener(t *testing.T, test func(t *testing.T, ln net.Listener)) {
	chosen := loopback(t)
	chosen.Close()
	for name, address := range map[string]string{
		"MPTCP": "127.0.0.1:0", "TCP": "127.0.0.1:0", "all addresses": ":0", "chosen port": chosen.Addr().String(),
	} {
		t.Run(name, func(t *testing.T) {
			var config net.ListenConfig
			config.SetMultipathTCP(name == "MPTCP")
			ln, err := config.Listen(context.Background(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
			test(t, ln)
		})
	}
}

func mustRefuse(t *testing.T, ln net.Listener) {
	t.Helper()
	if c, err := dialFor(ln, 5*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect: %v", err)
		if err == nil {
			c.Close()
		}
	}
}

func mustHang(t *testing.T, ln net.Listener) {
	t.Helper()
	c, err := dialFor(ln, 30*time.Millisecond)
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		t.Errorf("connect: %v", err)
		if err == nil {
			c.Close()
		}
	}
}

func mustWork(t *testing.T, ln net.Listener) {
	t.Helper()
	if got, err := readAll(ln, 10*time.Second); got != sixteen || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRefuseForEver(t *testing.T) {
	eachListener(t, func(t *testing.T, inner net.Listener) {
		queued, err := dialFor(inner, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer queued.Close()
		ln := Listen(inner, Refuse())
		answer(t, ln)
		for range 3 {
			mustRefuse(t, ln)
		}
		queued.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := queued.Read(make([]byte, 1)); !isReset(err) {
			t.Errorf("who was in the queue: %v", err)
		}
	})
}

func TestHangForEver(t *testing.T) {
	eachListener(t, func(t *testing.T, inner net.Listener) {
		ln := Listen(inner, Hang())
		answer(t, ln)
		mustHang(t, ln)
		mustHang(t, ln)
	})
}

// endStateNow ends the time of the state at once: the clock of sockets is real.
func endStateNow(t *testing.T, ln net.Listener) {
	t.Helper()
	l := ln.(*listener)
	l.mu.Lock()
	if l.timer == nil || !l.timer.Stop() {
		t.Error("no change was to come")
	}
	_, until := l.source.(*Injector).admission()
	l.source.(*Injector).start = time.Now().Add(-until)
	l.mu.Unlock()
	l.updateAdmission()
}

func TestRefuseEnds(t *testing.T) {
	eachListener(t, func(t *testing.T, inner net.Listener) {
		address := inner.Addr().String()
		ln := Listen(inner, For(time.Hour, Refuse()))
		answer(t, ln) // waits in Accept
		mustRefuse(t, ln)
		// The port is this listener's still.
		if other, err := net.Listen("tcp", ln.Addr().String()); err == nil {
			other.Close()
			t.Error("another program could listen at the address")
		}
		endStateNow(t, ln)
		for range 3 {
			mustWork(t, ln)
		}
		if n := reusePort(t, inner); n != 0 {
			t.Errorf("SO_REUSEPORT = %d", n)
		}
		if ln.Addr().String() != address {
			t.Errorf("listens at %s, was %s", ln.Addr(), address)
		}
	})
}

func reusePort(t *testing.T, ln net.Listener) (n int) {
	t.Helper()
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestHangEnds(t *testing.T) {
	eachListener(t, func(t *testing.T, inner net.Listener) {
		ln := Listen(inner, For(time.Hour, Hang()))
		answer(t, ln)
		mustHang(t, ln)
		endStateNow(t, ln)
		for range 3 {
			mustWork(t, ln)
		}
	})
}

func TestHangThenRefuseThenHang(t *testing.T) {
	eachListener(t, func(t *testing.T, inner net.Listener) {
		ln := Listen(inner, parse(t, "for:1h(hang)+for:2h(refuse)+for:3h(hang)"))
		answer(t, ln)
		mustHang(t, ln)
		endStateNow(t, ln)
		mustRefuse(t, ln)
		endStateNow(t, ln)
		mustHang(t, ln)
		endStateNow(t, ln)
		mustWork(t, ln)
	})
}

// The timer itself, on the real clock.
func TestForEndsByItself(t *testing.T) {
	ln := Listen(loopback(t), For(20*time.Millisecond, Refuse()))
	answer(t, ln)
	l := ln.(*listener)
	await(t, "the end of 20 ms", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.state == open
	})
	mustWork(t, ln)
}

// Closing gives everything back, the port too.
func TestListenerLeavesNothing(t *testing.T) {
	for _, f := range []string{"refuse", "hang", "for:1h(hang)", "for:1h(refuse)", "first:1(hang)"} {
		before := openFiles(t)
		inner := loopback(t)
		ln := Listen(inner, parse(t, f))
		if f == "first:1(hang)" {
			c := dial(t, ln)
			go ln.Accept()
			defer c.Close()
			before++
			await(t, "a held connection", func() bool { return heldBy(ln) == 1 })
		}
		if err := ln.Close(); err != nil {
			t.Errorf("%s: Close: %v", f, err)
		}
		if l := ln.(*listener); heldBy(ln) != 0 || l.timer != nil && l.timer.Stop() {
			t.Errorf("%s: a goroutine or a timer is left", f)
		}
		if n := openFiles(t); n > before {
			t.Errorf("%s: %d descriptors, %d before", f, n, before)
		}
		again, err := net.Listen("tcp", inner.Addr().String())
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		again.Close()
	}
}

// A client that gives up does not stay: not even when its octets were never read.
func TestHeldUntilThePeerCloses(t *testing.T) {
	ln := Listen(loopback(t), FailFirst(2, Hang()))
	answer(t, ln)
	silent, talks := dial(t, ln), dial(t, ln)
	talks.Write([]byte("Hi there, "))
	mustWork(t, ln)
	talks.Write([]byte("server"))
	if heldBy(ln) != 2 {
		t.Errorf("%d held", heldBy(ln))
	}
	talks.Close()
	await(t, "the end of one that talked", func() bool { return heldBy(ln) == 1 })
	silent.Close()
	await(t, "the end of the other", func() bool { return heldBy(ln) == 0 })
}

func heldBy(ln net.Listener) int {
	l := ln.(*listener)
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// await looks again and again: the kernel does not report it.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		if done() {
			return
		}
		<-tick.C
	}
	t.Fatalf("waited in vain for %s", what)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Where the address cannot be bound again, each connection is decided on instead.
func TestWithoutAdmission(t *testing.T) {
	for f, wait := range map[string]time.Duration{"refuse": 10 * time.Second, "hang": 30 * time.Millisecond} {
		ln := Listen(noSocket{loopback(t)}, parse(t, f))
		answer(t, ln)
		_, err := readAll(ln, wait)
		if f == "refuse" && !isReset(err) || f == "hang" && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

type noSocket struct{ net.Listener }

// A port that cannot be listened on again is told by Accept, not waited for.
func TestListenAgainFails(t *testing.T) {
	inner := loopback(t)
	ln := Listen(inner, For(time.Hour, Refuse()))
	defer ln.Close()
	ended := make(chan error)
	go func() { _, err := ln.Accept(); ended <- err }()
	inner.Close()
	endStateNow(t, ln)
	err := <-ended
	if err == nil || !strings.HasPrefix(err.Error(), "fault: hold and listen again on 127.0.0.1:") {
		t.Errorf("Accept: %v", err)
	}
}
