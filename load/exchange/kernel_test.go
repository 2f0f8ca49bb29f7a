package exchange

import (
	"testing"
	"time"

	"github.com/bothends/bothends/internal/tcpinfo"
)

// What the kernel reports about each connection is in the sum.
func TestKernel(t *testing.T) {
	x := new(Exchanges)
	if x.kernel() != nil {
		t.Error("figures of no connection")
	}
	for n := range uint32(3) {
		x.closed(tcpinfo.Info{Retransmissions: new(n + 1), RTT: new(time.Duration(n+1) * time.Millisecond), Unread: new(int(n))}, n > 0)
	}
	x.closed(tcpinfo.Info{}, true) // a system that reports less
	if k := x.kernel(); k.Connections != 4 || k.Retransmissions != 6 || k.RTT.Count() != 3 || x.stats.Surplus != 2 {
		t.Errorf("%+v, %d with a surplus", k, x.stats.Surplus)
	}
}
