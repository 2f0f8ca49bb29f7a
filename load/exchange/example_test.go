package exchange_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/load/exchange"
	"github.com/bothends/bothends/report"
)

// Load over a unix socket: five connections, each for all exchanges of a worker. With
// Client.TLS they would be secured.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "socket")
	ln, err := net.Listen("unix", path)
	if err != nil {
		log.Fatal(err)
	}
	server := &bothends.Server{Persistent: true}
	go server.Serve(ln)
	defer server.Close()

	x := exchange.Exchanges{
		Client: bothends.Client{Network: "unix"}, Addr: path,
		Request: []byte("Hi there, server"), PerConnection: -1,
	}
	r := x.Runner()
	r.Pacer, r.Workers, r.Count = load.Constant(1000), 5, 100
	record, err := r.Record(context.Background(), x.Meta())
	if err != nil {
		log.Fatal(err)
	}
	f := report.Summary(record)
	fmt.Println(f.Exchanges, f.Outcomes["ok"], f.RateRequested)
	// Output: 100 100 1000
}
