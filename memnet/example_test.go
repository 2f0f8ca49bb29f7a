package memnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/memnet"
)

// An http.Client meets a server that resets each connection after 100 octets.
func Example() {
	network := memnet.Listen()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 1000))
	})}
	go server.Serve(fault.Listen(network, fault.Reset(100)))
	defer server.Close()

	client := &http.Client{Transport: &http.Transport{DialContext: network.Dial}}
	response, err := client.Get("http://server.example/")
	if err == nil {
		_, err = io.ReadAll(response.Body)
		response.Body.Close()
	}
	fmt.Println("reset:", errors.Is(err, syscall.ECONNRESET))
	// Output:
	// reset: true
}

// The client's own connection has the fault, so the server needs no change.
func ExampleListener_Dial() {
	network := memnet.Listen()
	server := &http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(network)
	defer server.Close()

	faults := fault.New(fault.FailFirst(1, fault.Reads(fault.Close(40))), 0)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, tcp, addr string) (net.Conn, error) {
			conn, err := network.Dial(ctx, tcp, addr)
			if err != nil {
				return nil, err
			}
			return faults.Conn(conn), nil
		},
	}}
	for range 2 {
		response, err := client.Get("http://server.example/")
		if err != nil {
			fmt.Println("cut:", errors.Is(err, io.ErrUnexpectedEOF))
			continue
		}
		response.Body.Close()
		fmt.Println(response.Status)
	}
	// Output:
	// cut: true
	// 404 Not Found
}

func ExamplePipe() {
	near, far := memnet.Pipe()
	near.Write([]byte("Hi there, "))
	near.Write([]byte("server"))
	near.CloseWrite()
	p := make([]byte, 64)
	for {
		n, err := far.Read(p)
		fmt.Printf("%q, %v\n", p[:n], err)
		if err != nil {
			break
		}
	}
	far.Write([]byte("Farewell"))
	far.Reset()
	n, err := near.Read(p)
	fmt.Printf("%q, %v\n", p[:n], err)
	_, err = near.Read(p)
	fmt.Println(err)
	// Output:
	// "Hi there, ", <nil>
	// "server", <nil>
	// "", EOF
	// "Farewell", <nil>
	// read tcp 127.0.0.1:50000->127.0.0.1:1060: read: connection reset by peer
}

// The test in the documentation of the package, with a client of net/http: a minute of
// stall passes in no time. It is a test, because a synctest bubble needs one.
func TestClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.Listen()
		server := &http.Server{Handler: http.NotFoundHandler()}
		go server.Serve(fault.Listen(network, fault.Stall(40)))
		transport := &http.Transport{DialContext: network.Dial}
		client := &http.Client{Transport: transport, Timeout: time.Minute}
		start := time.Now()
		if _, err := client.Get("http://server.example/"); !os.IsTimeout(err) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		transport.CloseIdleConnections()
		server.Close()
	})
}
