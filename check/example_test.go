package check_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/check"
)

// Test your own server. These are the contents of func TestServer(t *testing.T) in your test
// file. Each case is a subtest, so that "go test -run TestServer/reset" runs one of them.
func ExampleTest() {
	t := new(testing.T)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Second))
				if _, err := io.ReadFull(conn, make([]byte, 16)); err == nil {
					conn.Write([]byte("Farewell, client"))
				}
			}()
		}
	}()
	check.Test(t, &check.Server{Addr: ln.Addr().String()})
}

// Test a client that is a function. Each case calls it with the address of a server that
// misbehaves.
func ExampleClient() {
	client := bothends.Client{Expect: []byte("Farewell, client"), Timeout: time.Second}
	c := check.Client{Exchange: func(ctx context.Context, addr string) error {
		_, err := client.Exchange(ctx, addr, []byte("Hi there, server"))
		return err
	}}
	for result := range c.Run(context.Background(), check.ClientCases()[:2]) {
		fmt.Println(result.Case, result.Verdict)
	}
	// Output:
	// whole pass
	// pieces pass
}

// Run some of the cases, and count the results.
func ExampleServer_Run() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := new(bothends.Server)
	go server.Serve(ln)
	defer server.Close()

	s := check.Server{Addr: ln.Addr().String(), Expect: []byte("Farewell, client")}
	var tally check.Tally
	for result := range s.Run(context.Background(), check.ServerCases()[:2]) {
		fmt.Println(result.Case, result.Verdict)
		tally.Add(result)
	}
	fmt.Println(&tally)
	// Output:
	// whole pass
	// octets pass
	// 2 cases: 2 passed
}
