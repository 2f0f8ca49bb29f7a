package bothends_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/memnet"
)

func TestOutcomeNames(t *testing.T) {
	const want = "ok refused unreachable timeout short closed reset mismatch tls denied canceled"
	var names []string
	for _, o := range bothends.Outcomes() {
		names = append(names, o.String())
		text, err := json.Marshal(o)
		var back bothends.Outcome
		if err != nil || json.Unmarshal(text, &back) != nil || back != o {
			t.Errorf("%v as JSON: %s, %v, back %v", o, text, err, back)
		}
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("outcomes: %s", got)
	}
	var o bothends.Outcome
	if o.UnmarshalText([]byte("fine")) == nil {
		t.Error("an unknown name is taken")
	}
	if _, err := bothends.Outcome(99).MarshalText(); err == nil || bothends.Outcome(99).String() != "Outcome(99)" {
		t.Error("an unknown outcome has a name")
	}
}

// These errors do not occur on the real sockets of the other tests.
func TestClassify(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	short := func(done int, err error) error {
		return &bothends.ShortError{Op: "read", Done: done, Want: 16, Err: err}
	}
	secure := func(err error) error { return &bothends.ExchangeError{Op: "secure", Peer: "p", Err: err} }
	for _, c := range []struct {
		err  error
		want bothends.Outcome
	}{
		{nil, bothends.OK},
		{dial(syscall.ECONNREFUSED), bothends.Refused},
		{dial(syscall.ENETUNREACH), bothends.Unreachable},
		{dial(syscall.EHOSTUNREACH), bothends.Unreachable},
		{dial(syscall.EADDRNOTAVAIL), bothends.Unreachable},
		{dial(syscall.EACCES), bothends.Unreachable},
		{dial(syscall.EMFILE), bothends.Unreachable},
		{dial(syscall.ETIMEDOUT), bothends.Timeout},
		{dial(syscall.ECONNRESET), bothends.Reset},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, bothends.Unreachable},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, bothends.Timeout},
		{&bothends.ExchangeError{Op: "connect", Err: errors.New("proxy said no")}, bothends.Unreachable},
		{io.EOF, bothends.Closed},
		{io.ErrUnexpectedEOF, bothends.Short},
		{short(0, io.EOF), bothends.Closed},
		{short(0, io.ErrUnexpectedEOF), bothends.Closed}, // TLS without close_notify
		{short(4, io.ErrUnexpectedEOF), bothends.Short},
		{short(4, syscall.ECONNRESET), bothends.Reset},
		{short(4, syscall.EPIPE), bothends.Reset},
		{short(4, syscall.EHOSTUNREACH), bothends.Unreachable},
		{short(4, syscall.ETIMEDOUT), bothends.Timeout},
		{short(4, os.ErrDeadlineExceeded), bothends.Timeout},
		{short(4, net.ErrClosed), bothends.Canceled},
		{context.DeadlineExceeded, bothends.Timeout},
		{context.Canceled, bothends.Canceled},
		{errors.Join(os.ErrDeadlineExceeded, context.Canceled), bothends.Canceled},
		{&bothends.MismatchError{}, bothends.Mismatch},
		{fmt.Errorf("limit: %w", bothends.ErrDenied), bothends.Denied},
		{secure(errors.New("tls: no cipher suite in common")), bothends.TLS},
		{secure(io.EOF), bothends.Closed},
		{secure(io.ErrUnexpectedEOF), bothends.Closed},
		{secure(syscall.ECONNRESET), bothends.Reset},
		{secure(os.ErrDeadlineExceeded), bothends.Timeout},
		{tls.RecordHeaderError{Msg: "not TLS"}, bothends.TLS},
		{&tls.CertificateVerificationError{Err: errors.New("expired")}, bothends.TLS},
		{short(0, errors.New("tls: received unexpected handshake message of type *tls.clientHelloMsg when waiting for *tls.helloRequestMsg")), bothends.TLS}, // TLS 1.2, a client that renegotiates
		{short(3, fmt.Errorf("layer: %w", errors.New("tls: first record does not look like a TLS handshake"))), bothends.TLS},
		{&bothends.ExchangeError{Op: "connect", Err: errors.New("tls: server selected unsupported protocol version 301")}, bothends.TLS},
		{&bothends.ExchangeError{Op: "connect", Err: x509.UnknownAuthorityError{}}, bothends.TLS}, // of a Dial that verifies certificates
		{&bothends.ShortError{Op: "write", Err: io.ErrClosedPipe}, bothends.Reset},                // net.Pipe's EPIPE
		{short(0, io.ErrClosedPipe), bothends.Canceled},                                           // closed by this end
		{secure(io.ErrClosedPipe), bothends.Reset},
		{bothends.ErrServerClosed, bothends.Canceled},
		{&bothends.ExchangeError{Op: "reply", Err: io.EOF}, bothends.Canceled}, // an error of Reply
		{&bothends.ExchangeError{Op: "reply", Err: syscall.ECONNREFUSED}, bothends.Canceled},
		{&bothends.ExchangeError{Op: "reply", Err: context.DeadlineExceeded}, bothends.Timeout},
		{&bothends.ExchangeError{Op: "reply", Err: bothends.ErrDenied}, bothends.Denied},
		{&bothends.ExchangeError{Op: "reply", Err: &bothends.MismatchError{}}, bothends.Canceled},
		{&bothends.ExchangeError{Op: "reply", Err: errors.New("tls: bad certificate of another server")}, bothends.Canceled},
		{&bothends.ExchangeError{Op: "connect", Err: io.EOF}, bothends.Unreachable},
		{errors.New("something else"), bothends.Canceled},
	} {
		if got := bothends.Classify(c.err); got != c.want {
			t.Errorf("%v is %v, want %v", c.err, got, c.want)
		}
		if c.err != nil {
			if got := bothends.Classify(fmt.Errorf("outside: %w", c.err)); got != c.want {
				t.Errorf("wrapped, %v is %v, want %v", c.err, got, c.want)
			}
		}
	}
}

// These errors come from connect on this machine.
func TestClassifyRealConnects(t *testing.T) {
	closed := loopback(t)
	closed.Close()
	for addr, want := range map[string]struct {
		outcome bothends.Outcome
		text    string
	}{
		closed.Addr().String(): {bothends.Refused, "connect to " + closed.Addr().String() + ": connection refused"},
		"bad..name:1060":       {bothends.Unreachable, "resolve bad..name: no such host"},
		"127.0.0.1":            {bothends.Unreachable, "connect to 127.0.0.1: address 127.0.0.1: missing port in address"},
		"127.0.0.1:99999":      {bothends.Unreachable, "connect to 127.0.0.1:99999: address 99999: invalid port"},
	} {
		_, err := new(bothends.Client).Exchange(t.Context(), addr, nil)
		if got := bothends.Classify(err); got != want.outcome || err.Error() != want.text {
			t.Errorf("%s: %v, %q; want %v, %q", addr, got, err, want.outcome, want.text)
		}
	}
}

func TestErrorsWithoutACause(t *testing.T) {
	if got := new(bothends.ShortError).Error(); got != "no reason given 0 bytes into a 0-byte message" {
		t.Error(got)
	}
	if got := (&bothends.ExchangeError{Op: "send", Peer: "p"}).Error(); got != "send to p: no reason given" {
		t.Error(got)
	}
}

func TestMismatchShowsTheBeginning(t *testing.T) {
	err := &bothends.MismatchError{Got: []byte(strings.Repeat("é", 1000)), Want: []byte("ok")}
	if got := err.Error(); len(got) > 200 || !strings.Contains(got, "2000 octets") {
		t.Error(got)
	}
}

// These errors come from crypto/tls, if the ends have no protocol version in common, and if
// the peer does not use TLS. The errors have no exported types.
func TestClassifyRealTLSErrors(t *testing.T) {
	cert, pool := certificate(t)
	near, far := memnet.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- tls.Server(far, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12}).Handshake()
		far.Close()
	}()
	client := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
	if err := tls.Client(near, client).Handshake(); bothends.Classify(err) != bothends.TLS {
		t.Errorf("client: %v is %v", err, bothends.Classify(err))
	}
	if err := <-served; bothends.Classify(err) != bothends.TLS {
		t.Errorf("server: %v is %v", err, bothends.Classify(err))
	}

	near, far = memnet.Pipe()
	far.Write([]byte(farewell))
	dial := func(context.Context, string, string) (net.Conn, error) {
		secured := tls.Client(near, client)
		return secured, secured.Handshake()
	}
	_, err := (&bothends.Client{Dial: dial}).Exchange(t.Context(), "127.0.0.1:1060", nil)
	if bothends.Classify(err) != bothends.TLS {
		t.Errorf("a Dial that makes the handshake: %v is %v", err, bothends.Classify(err))
	}
}
