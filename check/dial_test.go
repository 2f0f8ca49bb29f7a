package check_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	diff "github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/check"
	"github.com/bothends/bothends/memnet"
)

// secured returns the configurations of a TLS server with a new certificate, and of a
// client that trusts it.
func secured(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"server"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool, ServerName: "server"}
}

// counting is a listener that counts what it accepts.
type counting struct {
	net.Listener
	accepted *atomic.Int64
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.accepted.Add(1)
	}
	return conn, err
}

// dialed tests our server on a kind of connection. It returns "case: verdict" for each case.
// All connections must have come from dial: the address leads nowhere.
func dialed(t *testing.T, ln net.Listener, dial func(context.Context) (net.Conn, error), only ...string) (got []string, why map[string]string) {
	t.Helper()
	var made, accepted atomic.Int64
	ours := &bothends.Server{Timeout: 2 * time.Second}
	served := make(chan error, 1)
	go func() { served <- ours.Serve(counting{ln, &accepted}) }()
	s := &check.Server{
		Addr: "not an address", Network: "nowhere", Expect: []byte(bothends.DefaultReply), Silence: 5 * time.Second, Times: 20, Many: 20,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if network != "nowhere" || addr != "not an address" {
				t.Errorf("dial %q, %q", network, addr)
			}
			made.Add(1)
			return dial(ctx)
		},
	}
	got, why = verdicts(t, s, only...)
	ours.Close()
	<-served
	if made.Load() == 0 || made.Load() != accepted.Load() {
		t.Errorf("Dial made %d connections, and the server accepted %d", made.Load(), accepted.Load())
	}
	return got, why
}

// allBut returns the verdict pass for each case, except for those given.
func allBut(others map[string]string) (verdicts []string) {
	for _, c := range check.ServerCases() {
		verdict := "pass"
		if v, ok := others[c.Name]; ok {
			verdict = v
		}
		verdicts = append(verdicts, c.Name+": "+verdict)
	}
	return verdicts
}

// Over TLS our server passes all cases, except that TLS 1.2 does not allow half-close.
func TestServerOverTLS(t *testing.T) {
	t.Parallel()
	server, client := secured(t)
	for version, c := range map[uint16]struct{ only, want []string }{
		tls.VersionTLS13: {nil, allBut(nil)},
		tls.VersionTLS12: {
			[]string{"whole", "half-close", "fin", "reset", "connect-close"},
			[]string{"whole: pass", "half-close: skip", "fin: pass", "reset: pass", "connect-close: pass"},
		},
	} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			config := client.Clone()
			config.MaxVersion = version
			ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
			if err != nil {
				t.Fatal(err)
			}
			got, why := dialed(t, ln, func(ctx context.Context) (net.Conn, error) {
				return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", ln.Addr().String())
			}, c.only...)
			if d := diff.Diff(c.want, got); d != "" {
				t.Errorf("%s\n%q", d, why)
			}
			if version == tls.VersionTLS12 && why["half-close"] != "TLS 1.2 does not allow a reply after close_notify" {
				t.Errorf("half-close: %s", why["half-close"])
			}
		})
	}
}

// A unix socket has no RST.
func TestServerOnUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	got, why := dialed(t, ln, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	})
	if d := diff.Diff(allBut(map[string]string{"reset": "skip"}), got); d != "" || why["reset"] != `a connection of the network "unix" has no RST` {
		t.Errorf("%s\n%q", d, why)
	}
}

// A network in memory needs no time.
func TestServerInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		got, why := dialed(t, ln, func(ctx context.Context) (net.Conn, error) { return ln.Dial(ctx, "", "") })
		if d := diff.Diff(allBut(nil), got); d != "" {
			t.Errorf("%s\n%q", d, why)
		}
	})
}

// onlyConn hides all methods of a connection except those of net.Conn.
type onlyConn struct{ net.Conn }

// A connection that can neither be half-closed nor reset: three cases cannot be run.
func TestServerOnPlainConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		got, why := dialed(t, ln, func(ctx context.Context) (net.Conn, error) {
			conn, err := ln.Dial(ctx, "", "")
			return onlyConn{conn}, err
		})
		want := allBut(map[string]string{"half-close": "skip", "fin": "skip", "reset": "skip"})
		if d := diff.Diff(want, got); d != "" || why["fin"] != `a connection of the network "tcp" cannot send FIN and still receive` {
			t.Errorf("%s\n%q", d, why)
		}
	})
}

// Network and Addr are enough for a unix socket. Errors name its path.
func TestUnixAddr(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	s := &check.Server{Network: "unix", Addr: path}
	got, why := verdicts(t, s, "whole")
	if got[0] != "whole: skip" || why["whole"] != "not run: connect to "+path+": no such file or directory" {
		t.Errorf("%q, %q", got, why)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, func(conn net.Conn) { answer(conn) }, false)
	if got, why = verdicts(t, s, "whole", "slow-reader", "no-reader"); strings.Join(got, ", ") != "whole: pass, slow-reader: pass, no-reader: pass" {
		t.Errorf("%q, %q", got, why)
	}
}

// An error of Dial names the address of the Server.
func TestDialError(t *testing.T) {
	t.Parallel()
	broken := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no cable") }
	for r := range (&check.Server{Addr: "here", Dial: broken}).Run(t.Context(), cases(t, "whole")) {
		if notRun := new(check.NotRunError); !errors.As(r.Err, &notRun) || r.Why != "not run: connect to here: no cable" {
			t.Errorf("%+v", r)
		}
	}
}

// A kind is a kind of connection to test a server on.
type kind struct {
	name   string
	listen func(t *testing.T) net.Listener
	dial   func(context.Context, net.Addr) (net.Conn, error)
}

// kinds returns TLS, with the handshake left to check, and a unix socket.
func kinds(t *testing.T) []kind {
	server, client := secured(t)
	dir := t.TempDir()
	listen := func(t *testing.T, network, addr string) net.Listener {
		ln, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	return []kind{
		{"tls", func(t *testing.T) net.Listener { return tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), server) },
			func(ctx context.Context, addr net.Addr) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr.String())
				if err != nil {
					return nil, err
				}
				return tls.Client(conn, client), nil
			}},
		{"unix", func(t *testing.T) net.Listener { return listen(t, "unix", filepath.Join(dir, filepath.Base(t.Name()))) },
			func(ctx context.Context, addr net.Addr) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", addr.String())
			}},
	}
}

// Broken servers fail over TLS and on a unix socket as they do over TCP.
func TestBrokenServersByDial(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds(t) {
		for _, c := range []struct {
			name, verdict, why string
			handle             func(net.Conn)
			inTurn             bool
		}{
			{"octets", "fail", "of the request: |0 bytes into a 16-byte message|the server answered after ", func(conn net.Conn) {
				if n, _ := conn.Read(make([]byte, 16)); n == 16 {
					conn.Write([]byte(bothends.DefaultReply))
				}
			}, false},
			{"half-close", "fail", "the reply did not arrive: ", func(conn net.Conn) {
				if bothends.ReadMessage(conn, make([]byte, 16)) != nil {
					return
				}
				conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
				if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
					conn.Write([]byte(bothends.DefaultReply))
				}
			}, false},
			{"fin", "warn", "the server answered a request that ended after ", func(conn net.Conn) {
				io.ReadAtLeast(conn, make([]byte, 16), 16)
				conn.Write([]byte(bothends.DefaultReply))
			}, false},
			{"silence", "fail", "while two clients are silent, another one is not served: |while a client is silent, another one cannot connect: TLS handshake: ", func(conn net.Conn) { answer(conn) }, true},
		} {
			t.Run(kind.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				ln := kind.listen(t)
				serveOn(t, ln, c.handle, c.inTurn)
				s := &check.Server{
					Addr: "there", Limit: time.Second, Silence: -1,
					Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return kind.dial(ctx, ln.Addr()) },
				}
				got, why := verdicts(t, s, c.name)
				matches := false
				for text := range strings.SplitSeq(c.why, "|") {
					matches = matches || strings.Contains(why[c.name], text)
				}
				if len(got) != 1 || got[0] != c.name+": "+c.verdict || !matches {
					t.Errorf("%s, %q", got, why)
				}
			})
		}
	}
}

// A server that ends at the first error of a connection, over TLS: RST below TLS and FIN
// without close_notify end it.
func TestTLSServerThatDies(t *testing.T) {
	t.Parallel()
	server, client := secured(t)
	for _, name := range []string{"fin", "reset"} {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
		if err != nil {
			t.Fatal(err)
		}
		var loop sync.WaitGroup
		loop.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				err = answer(conn)
				conn.Close()
				if err != nil {
					ln.Close()
					return
				}
			}
		})
		s := &check.Server{Addr: ln.Addr().String(), Limit: time.Second, Dial: (&tls.Dialer{Config: client}).DialContext}
		got, why := verdicts(t, s, "whole", name)
		ln.Close()
		loop.Wait()
		if len(got) != 2 || got[1] != name+": fail" || !strings.Contains(why[name], "the next exchange did not work: ") {
			t.Errorf("%q, %q", got, why)
		}
	}
}

// A wire is a connection below TLS that keeps what it has read.
type wire struct {
	net.Conn
	read []byte
	err  error
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.read = append(w.read, p[:n]...)
	w.err = cmp.Or(w.err, err)
	return n, err
}

// Write may be the call that returns the RST.
func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.err = cmp.Or(w.err, err)
	return n, err
}

// ending returns how the connection ended. In TLS 1.3 an alert is a record of 19 octets:
// its two, the type, and 16 that authenticate them (RFC 8446, section 5.2). So is a request
// that is cut after two octets.
func (w *wire) ending() string {
	const alert = 5 + 19
	last := w.read[max(0, len(w.read)-alert):]
	if bytes.HasPrefix(last, []byte{23, 3, 3, 0, 19}) {
		return "close_notify, " + ending(w.err)
	}
	return ending(w.err)
}

// What a TLS server sees of the cases: FIN with close_notify, FIN without it, and RST.
func TestWhatTLSServersMeet(t *testing.T) {
	t.Parallel()
	server, client := secured(t)
	const normal = "close_notify, FIN" // before the case, after it and later; in it too
	for name, want := range map[string]map[string]int{
		"half-close": {normal: 3 + 1},
		"fin":        {normal: 3 + 16 + 1, "FIN": 15},
		"reset":      {normal: 3 + 2, "RST": 2},
		"silence":    {normal: 3 + 1, "silence": 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			met := make(map[string]int)
			t.Run("served", func(t *testing.T) { // at its end the server has ended too
				serveOn(t, ln, func(below net.Conn) {
					w := &wire{Conn: below}
					conn := tls.Server(w, server)
					conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
					n, err := conn.Read(make([]byte, 16)) // a record
					if n == 16 {
						conn.Write([]byte(bothends.DefaultReply))
					}
					for err == nil {
						_, err = conn.Read(make([]byte, 16))
					}
					mu.Lock()
					defer mu.Unlock()
					met[w.ending()]++
				}, false)
				s := &check.Server{Addr: ln.Addr().String(), Silence: 2 * time.Second, Dial: (&tls.Dialer{Config: client}).DialContext}
				if got, why := verdicts(t, s, name); got[0] != name+": pass" {
					t.Errorf("%q, %q", got, why)
				}
			})
			mu.Lock()
			defer mu.Unlock()
			if d := diff.Diff(want, met); d != "" {
				t.Error(d)
			}
		})
	}
}
