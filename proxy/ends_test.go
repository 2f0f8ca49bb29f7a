package proxy_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/proxy"
)

// An exchange works if it is cut into octets both ways, and a client always distinguishes
// 10 octets and RST, 10 octets and FIN, and 10 octets and silence. test/proxy-ends.sh shows
// it 1,000 times, with processes.
func TestClientDistinguishesTheEnds(t *testing.T) {
	serverLn, proxyLn := listener(t), listener(t)
	var server bothends.Server
	serverEnds, proxyEnds := make(chan error, 1), make(chan error, 1)
	go func() { serverEnds <- server.Serve(serverLn) }()
	drip := fault.Drip(1, time.Millisecond)
	p := proxy.Proxy{Target: serverLn.Addr().String(), Requests: drip}
	go func() { proxyEnds <- p.Serve(proxyLn) }()

	client := bothends.Client{Timeout: 300 * time.Millisecond}
	for _, end := range []struct {
		fault fault.Fault
		want  bothends.Outcome
	}{
		{fault.Fault{}, bothends.OK},
		{fault.Reset(10), bothends.Reset},
		{fault.Close(10), bothends.Short},
		{fault.Stall(10), bothends.Timeout},
	} {
		if err := p.SetFault(proxy.Replies, fault.Join(drip, end.fault)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, err := client.Exchange(context.Background(), proxyLn.Addr().String(), []byte("Hi there, server"))
			var short *bothends.ShortError
			if got := bothends.Classify(err); got != end.want || got != bothends.OK && (!errors.As(err, &short) || short.Done != 10) {
				t.Errorf("with %q: %v, %v", end.fault, got, err)
			}
		}
	}
	p.Close()
	server.Close()
	if err := errors.Join(<-serverEnds, <-proxyEnds); !errors.Is(err, proxy.ErrClosed) || !errors.Is(err, bothends.ErrServerClosed) {
		t.Error(err)
	}
}

func listener(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}
