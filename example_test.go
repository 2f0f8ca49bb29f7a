package bothends_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/bothends/bothends"
)

func Example() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	var s bothends.Server
	go s.Serve(ln)
	defer s.Shutdown(context.Background())

	var c bothends.Client
	reply, err := c.Exchange(context.Background(), ln.Addr().String(), []byte("Hi there, server"))
	fmt.Printf("%s, %v\n", reply, err)
	// Output: Farewell, client, <nil>
}

func ExampleServer() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := &bothends.Server{
		MessageSize: 4,
		Timeout:     time.Second,
		Reply: func(_ context.Context, r *bothends.Request) ([]byte, error) {
			return []byte(strings.ToUpper(string(r.Message))), nil
		},
	}
	go s.Serve(ln)
	defer s.Shutdown(context.Background())

	c := &bothends.Client{ReplySize: 4}
	reply, _ := c.Exchange(context.Background(), ln.Addr().String(), []byte("ping"))
	fmt.Printf("%s\n", reply)
	// Output: PING
}

// Classify returns the reason why there was no reply.
func ExampleClassify() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ln.Close() // connections to this port are now refused

	_, err = new(bothends.Client).Exchange(context.Background(), ln.Addr().String(), []byte("Hi there, server"))
	fmt.Println(bothends.Classify(err))
	// Output: refused
}

func ExampleReadMessage() {
	message := make([]byte, 16)
	err := bothends.ReadMessage(strings.NewReader("Hi there"), message)
	fmt.Println(err)
	fmt.Println(bothends.Classify(err), errors.Is(err, io.ErrUnexpectedEOF))
	// Output:
	// socket closed 8 bytes into a 16-byte message
	// short true
}

func ExampleWriteMessage() {
	if err := bothends.WriteMessage(os.Stdout, []byte("Farewell, client")); err != nil {
		fmt.Println(err)
	}
	// Output: Farewell, client
}

func ExampleTrace() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := new(bothends.Server)
	go s.Serve(ln)
	defer s.Shutdown(context.Background())

	ctx := bothends.WithTrace(context.Background(), &bothends.Trace{
		Sent: func(t bothends.Transfer) { fmt.Printf("sent %d of %d octets\n", len(t.Message), t.Want) },
		Done: func(err error) { fmt.Println("done:", bothends.Classify(err)) },
	})
	new(bothends.Client).Exchange(ctx, ln.Addr().String(), []byte("Hi there, server"))
	// Output:
	// sent 16 of 16 octets
	// done: ok
}

func ExampleTiming() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := new(bothends.Server)
	go s.Serve(ln)
	defer s.Shutdown(context.Background())

	var timing bothends.Timing
	ctx := bothends.WithTrace(context.Background(), timing.Trace())
	new(bothends.Client).Exchange(ctx, ln.Addr().String(), []byte("Hi there, server"))
	for phase := range timing.Phases() { // the second value is the time spent in it
		fmt.Println(phase)
	}
	// Output:
	// connect
	// send
	// wait
	// receive
	// close
}

// A server that publishes its counts and shuts down without interrupting an exchange.
func ExampleServer_Stats() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	var s bothends.Server
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	metrics := func(w http.ResponseWriter, _ *http.Request) {
		stats := s.Stats()
		fmt.Fprintf(w, "connections_total %d\n", stats.Accepted)
		for outcome, n := range stats.Exchanges.All() {
			fmt.Fprintf(w, "exchanges_total{outcome=%q} %d\n", outcome, n)
		}
	}

	new(bothends.Client).Exchange(context.Background(), ln.Addr().String(), []byte("Hi there, server"))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(s.Shutdown(ctx), <-served)

	scrape := httptest.NewRecorder()
	metrics(scrape, nil)
	fmt.Print(scrape.Body)
	// Output:
	// <nil> bothends: server closed
	// connections_total 1
	// exchanges_total{outcome="ok"} 1
}

// secureServer starts a TLS server. It returns its address and the configuration for a
// client.
func secureServer() (ln net.Listener, config *tls.Config) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		panic(err)
	}
	go (&bothends.Server{Persistent: true}).Serve(ln)
	return ln, web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
}

// A channel is enough for a pool of TLS connections.
func ExampleClient_Connect() {
	ln, config := secureServer()
	defer ln.Close()
	client := &bothends.Client{TLS: config}
	pool := make(chan *bothends.Conn, 2)
	exchange := func(ctx context.Context, request string) (reply []byte, err error) {
		var conn *bothends.Conn
		select {
		case conn = <-pool:
		default:
			if conn, err = client.Connect(ctx, ln.Addr().String()); err != nil {
				return nil, err
			}
		}
		if reply, err = conn.Exchange(ctx, []byte(request)); err != nil {
			conn.Close()
			return nil, err
		}
		select {
		case pool <- conn:
		default:
			conn.Close()
		}
		return reply, nil
	}
	for range 2 {
		reply, err := exchange(context.Background(), "Hi there, server")
		fmt.Printf("%s, %v, pooled: %d\n", reply, err, len(pool))
	}
	(<-pool).Close()
	// Output:
	// Farewell, client, <nil>, pooled: 1
	// Farewell, client, <nil>, pooled: 1
}
