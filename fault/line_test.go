package fault

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends/memnet"
)

// A delay is a latency: it does not make a transfer slower.
func TestDelayKeepsTheThroughput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		c := Conn(near, Delay(100*time.Millisecond))
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		start := time.Now()
		go func() {
			for rest := sent; len(rest) > 0; rest = rest[1<<15:] {
				c.Write(rest[:1<<15])
			}
			if d := time.Since(start); d != 0 {
				t.Errorf("the Writes took %v", d)
			}
			c.Close()
		}()
		got, err := io.ReadAll(far)
		if d := time.Since(start); !bytes.Equal(got, sent) || err != nil || d != 100*time.Millisecond {
			t.Errorf("%d octets, %v after %v", len(got), err, d)
		}
	})
}

// What a delay holds is bounded, and the Write that waits for room can be ended.
func TestDelayIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(net.Conn)
		want error
	}{
		"deadline": {func(c net.Conn) { c.SetWriteDeadline(time.Now()) }, os.ErrDeadlineExceeded},
		"close":    {func(c net.Conn) { c.Close() }, net.ErrClosed},
		"peer":     {nil, syscall.EPIPE},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			conn := Conn(near, Delay(time.Hour))
			written := make(chan error, 1)
			go func() {
				n, err := conn.Write(make([]byte, 2*lineSize))
				if n != lineSize {
					t.Errorf("%d octets were taken", n)
				}
				written <- err
			}()
			synctest.Wait()
			start := time.Now()
			if c.end != nil {
				c.end(conn)
			} else {
				far.Close()
			}
			if err, d := <-written, time.Since(start); !errors.Is(err, c.want) || c.end != nil && d != 0 || d > 2*lastLook {
				t.Errorf("%s: %v after %v", name, err, d)
			}
			if c.want == syscall.EPIPE { // the later Writes say so too
				if n, err := conn.Write([]byte("x")); n != 0 || !errors.Is(err, c.want) {
					t.Errorf("the next Write: %d, %v", n, err)
				}
			}
			conn.(interface{ SetLinger(int) error }).SetLinger(0)
			conn.Close()
			synctest.Wait()
		})
	}
}

// A deadline that has passed fails a Write, but not what an earlier Write has left.
func TestDeadlineOfADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		c := Conn(near, parse(t, "delay:20ms+drip:1/1ms"))
		c.Write([]byte("abc"))
		c.SetDeadline(time.Unix(1, 0))
		if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
		go c.Close()
		if got := arrivals(far); got != "20ms a, 21ms b, 22ms c, 22ms EOF" {
			t.Error(got)
		}
	})
}

// The program's Close returns at once, and Reads fail from then on; what it wrote
// arrives, and then the FIN.
func TestCloseDeliversWhatADelayHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		c := Conn(near, Delay(time.Second))
		reading := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			reading <- err
		}()
		c.Write([]byte("abc"))
		synctest.Wait()
		start := time.Now()
		if err := c.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
		if err := <-reading; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the Read under way: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a later Read: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a later Write: %v", err)
		}
		c.Close()
		if got := arrivals(far); got != "1s abc, 1s EOF" {
			t.Error(got)
		}
	})
}

// SetLinger(0) and Close drop what is in the delay, as they drop what is in the kernel.
func TestLingerOfZeroDropsWhatADelayHolds(t *testing.T) {
	client, faulty := pair(t, Delay(time.Hour))
	faulty.Write([]byte("abc"))
	faulty.(interface{ SetLinger(int) error }).SetLinger(0)
	faulty.Close()
	if got, err := io.ReadAll(client); len(got) > 0 || !isReset(err) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCloseWriteOfADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		c := Conn(near, Delay(time.Second))
		c.Write([]byte("abc"))
		start := time.Now()
		if err := c.(*conn).CloseWrite(); err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if got := arrivals(far); got != "1s abc, 1s EOF" {
			t.Error(got)
		}
		if err := Flush(c); err != nil {
			t.Error(err)
		}
		far.Write([]byte("reply"))
		far.Close()
		if got, err := io.ReadAll(c); string(got) != "reply" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		c.Close()
	})
}

// What strikes after a delay is told by Flush, Broken and the next Write.
func TestBrokenAfterADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := memnet.Pipe()
		c := Conn(near, parse(t, "delay:1s+reset:2"))
		if n, err := c.Write([]byte("abc")); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		start := time.Now()
		<-Broken(c)
		var struck *Error
		if err := Flush(c); !errors.As(err, &struck) || struck.Fault.String() != "reset:2" || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := c.Write([]byte("d")); !errors.Is(err, struck) {
			t.Errorf("the next Write: %v", err)
		}
		if got := struckTexts(c); !reflect.DeepEqual(got, []string{"delay:1s", "reset:2"}) {
			t.Errorf("%q", got)
		}
		c.Close()
	})
}

// A Write that a fault holds sends nothing, so that the kernel could not tell that the
// peer has gone.
func TestHeldWriteNoticesItsPeer(t *testing.T) {
	for _, f := range []string{"stall", "hang", "drip:1/1h", "rate:1", "delay:1h", "stall:1"} {
		for _, c := range []struct {
			end    func(*memnet.Conn) error
			want   error
			within time.Duration
		}{
			{(*memnet.Conn).Reset, syscall.ECONNRESET, 3 * lastLook},
			{(*memnet.Conn).Close, syscall.EPIPE, 3 * lastLook},
		} {
			synctest.Test(t, func(t *testing.T) {
				near, far := memnet.Pipe()
				conn := Conn(near, parse(t, f))
				written := make(chan error, 1)
				go func() {
					_, err := conn.Write(make([]byte, 100))
					if err == nil { // a delay takes it
						<-Broken(conn)
						_, err = conn.Write(make([]byte, 100))
					}
					written <- err
				}()
				time.Sleep(10 * time.Second)
				far.SetReadDeadline(time.Now().Add(time.Millisecond))
				io.Copy(io.Discard, far) // so that Close is no reset
				start := time.Now()
				c.end(far)
				if err := <-written; !errors.Is(err, c.want) || time.Since(start) > c.within {
					t.Errorf("%s: %v after %v", f, err, time.Since(start))
				}
				conn.Close()
			})
		}
	}
}

// The kernel shows a reset in the state of the connection, and only the FIN of
// a peer that has closed.
func TestHeldWriteNoticesARST(t *testing.T) {
	client, faulty := pair(t, Stall(2))
	written := make(chan error, 1)
	go func() {
		_, err := faulty.Write([]byte("abc"))
		written <- err
	}()
	io.ReadFull(client, make([]byte, 2))
	client.SetLinger(0)
	client.Close()
	start := time.Now()
	if err := <-written; !isReset(err) || time.Since(start) > 3*lastLook {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// A peer that sends no more may still read: a stall gives it some time.
func TestStallEndsAfterTheFIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		c := Conn(near, Stall(0))
		far.CloseWrite()
		start := time.Now()
		_, err := c.Write([]byte("abc"))
		if d := time.Since(start); !errors.Is(err, syscall.EPIPE) || d < finGrace || d > finGrace+2*lastLook {
			t.Errorf("%v after %v", err, d)
		}
		c.Close()
	})
}

// After Close nothing waits for long for a peer that does not read, or has sent FIN and
// may have closed.
func TestCloseOfADelayEnds(t *testing.T) {
	for name, c := range map[string]struct {
		delay, within time.Duration
		peer          func(*memnet.Conn)
	}{
		"does not read": {time.Second, time.Second + closeTime, func(*memnet.Conn) {}},
		"has sent FIN":  {time.Hour, finGrace + 2*lastLook, func(c *memnet.Conn) { c.CloseWrite() }},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			conn := Conn(near, Delay(c.delay))
			conn.Write(make([]byte, 1<<20))
			conn.Close()
			c.peer(far)
			time.Sleep(c.within)
			synctest.Wait()
			near.SetWriteDeadline(time.Time{})
			if n, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a peer that %s: the connection is open: %d, %v", name, n, err)
			}
		})
	}
}
