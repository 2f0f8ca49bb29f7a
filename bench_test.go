package bothends_test

import (
	"context"
	"net"
	"testing"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/memnet"
)

// BenchmarkExchange measures an exchange over memnet, without a Trace and with one whose
// hooks do nothing, at both ends.
func BenchmarkExchange(b *testing.B) {
	idle := &bothends.Trace{
		Connected: func(bothends.Connection) {}, Accepted: func(bothends.Connection) {},
		Sent: func(bothends.Transfer) {}, Received: func(bothends.Transfer) {},
		Exchanged: func(bothends.Exchange) {}, Closing: func(net.Conn) {}, Done: func(error) {},
	}
	for name, trace := range map[string]*bothends.Trace{"without": nil, "with": idle} {
		b.Run(name, func(b *testing.B) {
			ln := memnet.Listen()
			s := &bothends.Server{TraceConn: func(net.Conn) *bothends.Trace { return trace }}
			serve(b, s, ln)
			client := memClient(ln)
			ctx := context.Background()
			if trace != nil {
				ctx = bothends.WithTrace(ctx, trace)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Exchange(ctx, "localhost:1060", []byte(sixteen)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
