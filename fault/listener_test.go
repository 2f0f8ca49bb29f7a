package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends/memnet"
)

// answer accepts and writes sixteen octets on each connection, until ln is closed.
func answer(t testing.TB, ln net.Listener) {
	t.Helper()
	ended := make(chan error)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				ended <- err
				return
			}
			c.Write([]byte(sixteen))
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
	})
}

func dialFor(ln net.Listener, d time.Duration) (net.Conn, error) {
	port := ln.Addr().(*net.TCPAddr).Port
	return net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), d)
}

// readAll connects and reads to the end, whatever fails first.
func readAll(ln net.Listener, d time.Duration) (string, error) {
	c, err := dialFor(ln, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(d))
	got, err := io.ReadAll(c)
	return string(got), err
}

func TestRefuseTheFirst(t *testing.T) {
	ln := Listen(loopback(t), FailFirst(1, Refuse()))
	answer(t, ln)
	for n := range 3 {
		got, err := readAll(ln, 5*time.Second)
		if n < 1 && (got != "" || !isReset(err)) || n >= 1 && (got != sixteen || err != nil) {
			t.Errorf("connection %d: %q, %v", n, got, err)
		}
	}
}

func TestHangTheFirst(t *testing.T) {
	ln := Listen(loopback(t), FailFirst(1, Hang()))
	answer(t, ln)
	hung, works := dial(t, ln), dial(t, ln)
	if got, err := io.ReadAll(works); string(got) != sixteen || err != nil {
		t.Errorf("the second: %q, %v", got, err)
	}
	hung.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := hung.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first: %d, %v", n, err)
	}
	hung.SetReadDeadline(time.Now().Add(10 * time.Second))
	ln.Close() // closes what it holds, before it returns
	if _, err := hung.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the listener's Close: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// A refused connection is made, and then reset: connect does not fail, also where the
// machine is busy.
func TestRefusedConnectSucceeds(t *testing.T) {
	ln := Listen(loopback(t), FailFirst(1<<30, Refuse()))
	answer(t, ln)
	for range 300 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		c.Write([]byte("x")) // so that it does not wait for the whole time
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !isReset(err) {
			t.Errorf("read: %v", err)
		}
		c.Close()
	}
}

// What hangs must not use up the descriptors.
func TestHeldConnectionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memnet.Listen()
		ln := Listen(inner, FailFirst(1<<30, Hang()))
		answer(t, ln)
		var first net.Conn
		for n := range holdLimit + 1 {
			c, err := inner.Dial(context.Background(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if n == 0 {
				first = c
			}
			synctest.Wait()
		}
		first.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := first.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the first of %d: %v", holdLimit+1, err)
		}
		ln.Close()
	})
}

// Listeners without a socket decide as they accept, and so does every other system.
func TestListenerInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memnet.Listen()
		ln := Listen(inner, parse(t, "for:2s(refuse)+for:5s(hang)+close:4"))
		answer(t, ln)
		for _, c := range []struct {
			sleep time.Duration
			want  string
		}{{0, "250ms error"}, {2 * time.Second, ""}, {3 * time.Second, "0s Fare, 0s EOF"}} {
			time.Sleep(c.sleep)
			conn, err := inner.Dial(context.Background(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if c.want != "" {
				if got := arrivals(conn); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				continue
			}
			conn.SetReadDeadline(time.Now().Add(time.Second / 2))
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("hang: %v", err)
			}
		}
		ln.Close()
	})
}

func TestInjectorOfSeveralListeners(t *testing.T) {
	i := New(FailFirst(2, Close(4)), 0)
	one, two := i.Listen(loopback(t)), i.Listen(loopback(t))
	answer(t, one)
	answer(t, two)
	var got string
	for _, ln := range []net.Listener{one, two, one, two} {
		p, err := readAll(ln, 5*time.Second)
		if err != nil {
			t.Error(err)
		}
		got += p + ";"
	}
	if want := "Fare;Fare;" + sixteen + ";" + sixteen + ";"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAdmissionOf(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		fault string
		now   time.Duration
		state state
		until time.Duration
	}{
		{"", 0, open, 0},
		{"close:8+refuse", 0, refused, 0},
		{"first:2(refuse)+20%(hang)", 0, open, 0},
		{"for:2s(hang)+for:5s(refuse)", 0, silent, 2 * s},
		{"for:2s(hang)+for:5s(refuse)", 2 * s, refused, 5 * s},
		{"for:2s(hang)+for:5s(refuse)", 5 * s, open, 0},
		{"for:5s(refuse)+for:2s(hang)", 0, refused, 5 * s},
		{"for:5s(close:8+for:2s(hang))", 0, silent, 2 * s},
		{"for:2s(for:5s(hang))", 1 * s, silent, 2 * s},
		{"for:2s(for:5s(hang))", 2 * s, open, 0},
		{"for:2s(close:8)+hang", 0, silent, 0},
	} {
		if state, until := admissionOf(parse(t, c.fault).parts, 0, c.now); state != c.state || until != c.until {
			t.Errorf("%s after %v: %d until %v, want %d until %v", c.fault, c.now, state, until, c.state, c.until)
		}
	}
}
