package proxy_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http/httptest"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/proxy"
)

// The first two connections get ten octets of the reply and then RST.
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

// A test suite drives the proxies of another process.
func ExampleClient() {
	var s proxy.Set // bothends proxy --admin has one
	defer s.Close()
	server := httptest.NewServer(&proxy.Admin{Set: &s})
	defer server.Close()

	ctx := context.Background()
	c := proxy.Client{URL: server.URL}
	if _, err := c.Add(ctx, proxy.Spec{Name: "db", Listen: "127.0.0.1:0", Target: "127.0.0.1:5432"}); err != nil {
		log.Fatal(err)
	}
	db, err := c.SetFault(ctx, "db", proxy.Connect, "first:2(refuse)")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(db.Name, db.Target, db.Connect)
	// Output: db 127.0.0.1:5432 first:2(refuse)
}
