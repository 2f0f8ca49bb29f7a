package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/proxy"
)

// The first two connections get 10 octets of the reply and then RST.
func ExampleProxy() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	p := &proxy.Proxy{
		Target:  "127.0.0.1:6379",
		Replies: fault.FailFirst(2, fault.Reset(10)),
		Done:    func(c proxy.Connection) { log.Printf("%s ended: %s", c.Client, c.Ended) },
	}
	defer p.Close()
	go p.Serve(ln)
	// Clients connect to ln.Addr().
}

// A fault is set while a connection is open, and taken away.
func ExampleProxy_SetFault() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go func() { // sends back what it receives
		if c, err := server.Accept(); err == nil {
			io.Copy(c, c)
		}
	}()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	p := &proxy.Proxy{Target: server.Addr().String()}
	defer p.Close()
	go p.Serve(ln)

	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	replies := bufio.NewReader(c)
	exchange := func() {
		io.WriteString(c, "octets\n")
		reply, err := replies.ReadString('\n')
		fmt.Printf("%q %v\n", reply, err)
	}
	exchange()
	p.SetFault(proxy.Replies, fault.Corrupt(1))
	exchange()
	p.SetFault(proxy.Replies, fault.Fault{})
	exchange()
	p.SetFault(proxy.Replies, fault.Close(3))
	exchange()
	// Output:
	// "octets\n" <nil>
	// "obtets\n" <nil>
	// "octets\n" <nil>
	// "oct" EOF
}

// throughProxy gives a test a proxy to a server, which ends with the test.
func throughProxy(t *testing.T, target string) (p *proxy.Proxy, address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &proxy.Proxy{Target: target}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	t.Cleanup(func() { p.Close(); <-served })
	return p, ln.Addr().String()
}

// An HTTP client whose connection is kept open meets a server that stops in mid-reply,
// and one that is back.
func TestHTTPClientThroughAProxy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "Farewell, client") }))
	defer server.Close()
	p, address := throughProxy(t, server.Listener.Addr().String())
	client := &http.Client{Transport: new(http.Transport), Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	get := func() (string, error) {
		resp, err := client.Get("http://" + address)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	for i, f := range []fault.Fault{{}, fault.Drip(10, 0), fault.Reset(120), {}} {
		if err := p.SetFault(proxy.Replies, f); err != nil {
			t.Fatal(err)
		}
		body, err := get()
		if broken := i == 2; broken != (err != nil) || !broken && body != "Farewell, client" {
			t.Errorf("with %q: %q, %v", f, body, err)
		}
	}
	if n := p.Accepted(); n != 2 {
		t.Errorf("%d connections, want one until the reset and one after it", n)
	}
}
