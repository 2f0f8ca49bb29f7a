package fault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/internal/tcpconn"
)

func loopback(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func dial(t testing.TB, ln net.Listener) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second)) // so that no fault hangs the tests
	return c.(*net.TCPConn)
}

// pair is a connection: the accepted end has the fault.
func pair(t testing.TB, f Fault) (client *net.TCPConn, faulty net.Conn) {
	t.Helper()
	ln := loopback(t)
	client = dial(t, ln)
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	faulty = Conn(c, f)
	t.Cleanup(func() { faulty.Close() })
	return client, faulty
}

func isReset(err error) bool { return errno.Reset.Has(err) }

// The reset neither takes octets away that were sent before it, nor lets later ones
// through, however the socket keeps its octets back.
func TestResetAfterTenEveryTime(t *testing.T) {
	ln := Listen(loopback(t), Reset(10))
	var writes sync.WaitGroup
	for run := range 200 {
		client := dial(t, ln)
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		tcp := tcpconn.Lowest(c).(*net.TCPConn)
		switch run % 3 {
		case 1:
			tcp.SetNoDelay(false)
		case 2:
			cork(t, tcp)
		}
		writes.Go(func() {
			c.Write([]byte("Fare"))
			if n, err := c.Write([]byte("well, client")); n != 6 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("run %d: Write = %d, %v", run, n, err)
			}
		})
		got, err := io.ReadAll(client)
		if string(got) != "Farewell, " || !isReset(err) {
			t.Fatalf("run %d: %q, %v", run, got, err)
		}
	}
	writes.Wait()
}

// stuckReset is a reset that waits, because the reader does not read and its window is
// full.
func stuckReset(t *testing.T) (client *net.TCPConn, faulty net.Conn, written chan error) {
	t.Helper()
	client, faulty = pair(t, Reset(windowful))
	tcpconn.Lowest(faulty).(*net.TCPConn).SetWriteBuffer(1 << 20)
	written = make(chan error, 1)
	go func() {
		_, err := faulty.Write(make([]byte, windowful+1))
		written <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		if <-tick.C; Struck(faulty) != nil {
			return client, faulty, written
		}
	}
	t.Fatal("the octets are not in the send buffer")
	return
}

const windowful = 150_000 // octets, more than a new connection's window

func TestResetWaitsForTheAcknowledgement(t *testing.T) {
	client, _, written := stuckReset(t)
	if got, err := io.Copy(io.Discard, client); got != windowful || !isReset(err) {
		t.Errorf("read %d octets, %v", got, err)
	}
	if err := <-written; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Write: %v", err)
	}
}

// A program that closes while the fault waits does not turn the reset into a FIN.
func TestCloseWhileResetting(t *testing.T) {
	client, faulty, written := stuckReset(t)
	start := time.Now()
	faulty.Close()
	if err := <-written; !errors.Is(err, syscall.ECONNRESET) || time.Since(start) > ackTime/2 {
		t.Errorf("Write = %v after %v", err, time.Since(start))
	}
	if n, err := io.Copy(io.Discard, client); n == windowful || !isReset(err) {
		t.Errorf("read %d octets, %v", n, err)
	}
}

// Unread input makes the kernel answer close with RST, which could destroy the octets.
func TestCloseIsNoReset(t *testing.T) {
	client, faulty := pair(t, Close(8))
	client.Write(make([]byte, 1000)) // it is not read
	client.CloseWrite()
	n, err := faulty.Write([]byte(sixteen))
	if n != 8 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write = %d, %v", n, err)
	}
	if got, err := io.ReadAll(client); string(got) != "Farewell" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if err := faulty.(*conn).CloseWrite(); err != nil {
		t.Errorf("CloseWrite: %v", err)
	}
	if _, err := faulty.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is open: %v", err)
	}
}

func TestHalfCloseIsAFIN(t *testing.T) {
	client, faulty := pair(t, HalfClose(8))
	if n, err := faulty.Write([]byte(sixteen)); n != 8 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write = %d, %v", n, err)
	}
	if got, err := io.ReadAll(client); string(got) != "Farewell" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	client.Write([]byte("still here"))
	client.CloseWrite()
	if got, err := io.ReadAll(faulty); string(got) != "still here" || err != nil {
		t.Errorf("the faulty end read %q, %v", got, err)
	}
}

func TestStallSendsWhatItCounted(t *testing.T) {
	client, faulty := pair(t, Stall(4))
	cork(t, tcpconn.Lowest(faulty).(*net.TCPConn)) // would keep them for 200 ms
	start := time.Now()
	faulty.Write([]byte("Fare"))
	if _, err := io.ReadFull(client, make([]byte, 4)); err != nil || time.Since(start) > 150*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// Each piece leaves by itself, however the socket keeps its octets back.
func TestDripIsSegments(t *testing.T) {
	client, faulty := pair(t, Drip(4, 40*time.Millisecond))
	cork(t, tcpconn.Lowest(faulty).(*net.TCPConn)) // would keep them for 200 ms
	var writes sync.WaitGroup
	writes.Go(func() { faulty.Write([]byte("Farewell, client")) })
	defer writes.Wait()
	if n, err := client.Read(make([]byte, 16)); n >= 16 || err != nil {
		t.Errorf("the first read: %d octets, %v", n, err)
	}
}

func TestRefusedConnectionIsReset(t *testing.T) {
	client, faulty := pair(t, Refuse())
	if _, err := client.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("read: %v", err)
	}
	if n, err := faulty.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Write = %d, %v", n, err)
	}
}

func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// A seen is what both ends saw of one connection over TLS.
type seen struct {
	got                    string
	handshake, read, write error
	struck                 string
}

// overTLS makes one connection to ln, on which the server writes sixteen octets.
func overTLS(t *testing.T, ln net.Listener) (s seen) {
	t.Helper()
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, s.write = c.Write([]byte(sixteen))
		s.struck = strings.Join(struckTexts(c), " ")
	}()
	client := tls.Client(dial(t, ln), &tls.Config{InsecureSkipVerify: true})
	if s.handshake = client.Handshake(); s.handshake == nil {
		var p []byte
		p, s.read = io.ReadAll(client)
		s.got = string(p)
	}
	tcpconn.Lowest(client).Close()
	<-served
	return s
}

// The order of wrapping is meaning: over TLS a fault strikes the message, under it
// the handshake.
func TestOverAndUnderTLS(t *testing.T) {
	config := certificate(t)
	for _, f := range []string{"reset:10", "close:10"} {
		var failed *Error
		s := overTLS(t, Listen(tls.NewListener(loopback(t), config), parse(t, f)))
		if s.handshake != nil || s.got != "Farewell, " || s.struck != f || !errors.As(s.write, &failed) || failed.After != 10 {
			t.Errorf("%s over TLS: %+v", f, s)
		}
		if reset := f == "reset:10"; isReset(s.read) != reset || !reset && s.read != nil {
			t.Errorf("%s over TLS: read %v", f, s.read)
		}
		s = overTLS(t, tls.NewListener(Listen(loopback(t), parse(t, f)), config))
		if s.handshake == nil || s.struck != f || !errors.As(s.write, &failed) || failed.After != 10 {
			t.Errorf("%s under TLS: %+v", f, s)
		}
		if f == "reset:10" && !isReset(s.handshake) {
			t.Errorf("reset under TLS: %v", s.handshake)
		}
	}
}

// Under TLS a slow line is only slow.
func TestDripUnderTLS(t *testing.T) {
	s := overTLS(t, tls.NewListener(Listen(loopback(t), parse(t, "drip:100/1us")), certificate(t)))
	if s != (seen{got: sixteen, struck: "drip:100/1µs"}) {
		t.Errorf("%+v", s)
	}
}

// The FIN of a fault over TLS is the close_notify of TLS, and then the FIN of TCP.
func TestFINOverTLS(t *testing.T) {
	ln := Listen(tls.NewListener(loopback(t), certificate(t)), HalfClose(8))
	checked, served := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		c, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		c.Write([]byte(sixteen))
		<-checked
	}()
	client := tls.Client(dial(t, ln), &tls.Config{InsecureSkipVerify: true})
	if got, err := io.ReadAll(client); string(got) != "Farewell" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	client.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := tcpconn.Lowest(client).Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("below TLS: %v", err)
	}
	close(checked)
	<-served
	tcpconn.Lowest(client).Close()
}
