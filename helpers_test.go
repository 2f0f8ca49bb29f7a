package bothends_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/need"
	"github.com/bothends/bothends/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const farewell = "Farewell, client"

var quiet = slog.New(slog.DiscardHandler)

// serve runs s on ln. At the end of the test it stops s and waits for it.
func serve(t testing.TB, s *bothends.Server, ln net.Listener) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; !errors.Is(err, bothends.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
}

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
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func memClient(ln *memnet.Listener) *bothends.Client {
	return &bothends.Client{Dial: ln.Dial}
}

// mustExchange makes one exchange that must succeed.
func mustExchange(t testing.TB, c *bothends.Client, addr string) {
	t.Helper()
	reply, err := c.Exchange(context.Background(), addr, []byte(sixteen))
	if err != nil || string(reply) != farewell {
		t.Errorf("a plain exchange: %q, %v", reply, err)
	}
}

// A score counts the connections of a server by outcome.
type score struct {
	mu       sync.Mutex
	accepted int
	outcomes map[bothends.Outcome]int
	done     chan error // receives the error of each Done, may be nil
}

func (s *score) trace(net.Conn) *bothends.Trace {
	return &bothends.Trace{
		Accepted: func(bothends.Connection) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.accepted++
		},
		Done: func(err error) {
			s.mu.Lock()
			if s.outcomes == nil {
				s.outcomes = make(map[bothends.Outcome]int)
			}
			s.outcomes[bothends.Classify(err)]++
			s.mu.Unlock()
			if s.done != nil {
				s.done <- err
			}
		},
	}
}

// certificate makes a self-signed certificate for 127.0.0.1, and a pool with it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "bothends test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
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
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// openFiles returns the number of descriptors of this process, if the system reports it.
func openFiles(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		need.Skip(t, "/proc/self/fd, to count descriptors")
	}
	return len(entries)
}

func testLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
