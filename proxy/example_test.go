package proxy_test

import (
	"log"
	"net"

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
