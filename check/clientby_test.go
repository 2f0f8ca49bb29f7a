package check_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/check"
)

// Tests of clients that are functions, over TLS and unix sockets.

// sockets returns a function that listens on a unix socket, another one each time.
func sockets(t *testing.T) func() (net.Listener, error) {
	dir := t.TempDir()
	var n atomic.Int64
	return func() (net.Listener, error) {
		return net.Listen("unix", filepath.Join(dir, strconv.FormatInt(n.Add(1), 10)))
	}
}

// exchangeBy returns the Exchange of our client.
func exchangeBy(config *tls.Config, network string) func(context.Context, string) error {
	return func(ctx context.Context, addr string) error {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
		client := bothends.Client{Dial: dial, TLS: config, Expect: []byte(bothends.DefaultReply), Timeout: time.Second}
		_, err := client.Exchange(ctx, "localhost:0", []byte(bothends.DefaultRequest))
		return err
	}
}

// allClientsBut returns the verdict pass for each case, except for those given.
func allClientsBut(verdict string, others ...string) (verdicts []string) {
	for _, c := range check.ClientCases() {
		v := "pass"
		for _, name := range others {
			if c.Name == name {
				v = verdict
			}
		}
		verdicts = append(verdicts, c.Name+": "+v)
	}
	return verdicts
}

// Our client passes over TCP, over TLS, and on a unix socket, which has no RST and no SYN.
func TestOurClientAsFunction(t *testing.T) {
	t.Parallel()
	server, client := secured(t)
	listenUnix := sockets(t)
	for name, c := range map[string]struct {
		client check.Client
		want   []string
	}{
		"tcp": {check.Client{Exchange: exchangeBy(nil, "tcp")}, allClientsBut("")},
		"tls": {check.Client{Exchange: exchangeBy(client, "tcp"), TLS: server}, allClientsBut("")},
		"unix": {check.Client{
			Exchange: exchangeBy(nil, "unix"), Listen: listenUnix,
		}, allClientsBut("skip", "reset", "cut-reset", "refused", "hang")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, results := clientVerdicts(t, &c.client)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n%v", diff, results)
			}
			for of, want := range map[string]string{"refused": `connection refused"`, "hang": `timed out"`} {
				if why := results[of].Why; name != "unix" && (!strings.HasPrefix(why, `error "connect to `) || !strings.HasSuffix(why, want)) {
					t.Errorf("%s: %s", of, why)
				}
			}
			if why := results["reset"].Why; name == "unix" && why != `the case needs TCP, and the network is "unix"` {
				t.Errorf("reset: %s", why)
			}
		})
	}
}

// careless makes an exchange in which one Read is the whole reply, and wrong replies and
// silence are successes.
func careless(dial func(addr string) (net.Conn, error)) func(context.Context, string) error {
	return func(_ context.Context, addr string) error {
		conn, err := dial(addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.Write([]byte(bothends.DefaultRequest))
		conn.SetReadDeadline(time.Now().Add(time.Second))
		_, err = conn.Read(make([]byte, 16))
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return nil
		}
		return err
	}
}

// A careless client fails over TLS and on a unix socket as it does over TCP.
func TestCarelessClients(t *testing.T) {
	t.Parallel()
	server, client := secured(t)
	listenUnix := sockets(t)
	for name, c := range map[string]check.Client{
		"tcp": {Exchange: careless(func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) })},
		"tls": {Exchange: careless(func(addr string) (net.Conn, error) { return tls.Dial("tcp", addr, client) }), TLS: server},
		"unix": {
			Exchange: careless(func(addr string) (net.Conn, error) { return net.Dial("unix", addr) }),
			Listen:   listenUnix,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := []string{"whole: pass", "octets: fail", "wrong: fail", "closed: pass", "cut-fin: fail", "silence: fail"}
			got, results := clientVerdicts(t, &c, "whole", "octets", "wrong", "closed", "cut-fin", "silence")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n%v", diff, results)
			}
		})
	}
}

// Over TCP, a client that ends with RST gets a warning. Over TLS it does not, because the
// RST may come from the server's close_notify, which a client need not read.
func TestClientThatResets(t *testing.T) {
	t.Parallel()
	server, client := secured(t)
	for want, config := range map[string]*tls.Config{"whole: warn": nil, "whole: pass": server} {
		exchange := func(_ context.Context, addr string) error {
			below, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			defer below.Close() // without close_notify
			below.(*net.TCPConn).SetLinger(0)
			conn := below
			if config != nil {
				conn = tls.Client(below, client)
			}
			conn.Write([]byte(bothends.DefaultRequest))
			return bothends.ReadMessage(conn, make([]byte, 16))
		}
		got, results := clientVerdicts(t, &check.Client{Exchange: exchange, TLS: config}, "whole")
		if got[0] != want {
			t.Errorf("%q, want %s: %v", got, want, results)
		}
	}
}

// A function that does not return is late, and Run waits until it has returned.
func TestExchangeThatHangs(t *testing.T) {
	t.Parallel()
	returned := false
	c := &check.Client{Limit: 50 * time.Millisecond, Exchange: func(ctx context.Context, _ string) error {
		<-ctx.Done()
		returned = true
		return nil
	}}
	got, results := clientVerdicts(t, c, "whole")
	if got[0] != "whole: fail" || !strings.HasPrefix(results["whole"].Why, "it had not ended after ") || !returned {
		t.Errorf("%+v, returned: %v", results, returned)
	}
}

var port = regexp.MustCompile(`:[0-9]+: `)

// The errors of a function are shown, and Test reports them.
func TestTestOfClient(t *testing.T) {
	t.Parallel()
	var got []string
	c := &check.Client{Exchange: exchangeBy(nil, "tcp")}
	check.Test(&fakeT{T: t, log: &got}, c, "whole", "wrong", "closed")
	want := []string{
		"whole log: a correct reply in one write: no error",
		`wrong log: a complete reply with wrong content: error "the reply \"Farewell- client\" is not the expected \"Farewell, client\""`,
		`closed log: FIN instead of the reply: error "receive from 127.0.0.1:PORT: socket closed 0 bytes into a 16-byte message"`,
	}
	for i := range got {
		got[i] = port.ReplaceAllString(got[i], ":PORT: ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = nil
	check.Test(&fakeT{T: t, log: &got}, &check.Client{}, "closed")
	if len(got) != 2 || got[0] != "closed error: FIN instead of the reply: not run: the client has neither Command nor Exchange" {
		t.Errorf("%q", got)
	}
}
