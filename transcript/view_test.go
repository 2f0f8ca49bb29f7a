package transcript

import (
	"errors"
	"net"
	"testing"

	"github.com/bothends/bothends/internal/tcpinfo"
)

// A value that the kernel did not report is named and not shown as zero.
func TestKernelViewOfLess(t *testing.T) {
	state, retransmissions := "ESTABLISHED", uint32(0)
	got := kernelView(tcpinfo.Info{State: &state, Retransmissions: &retransmissions}, nil)
	want := `  state ESTABLISHED
  retransmissions 0
  not available on this system: congestion control, MSS, round trip, variance, octets acknowledged, octets received, delivery rate, send queue, receive queue
`
	if got != want {
		t.Errorf("%s", got)
	}
	for err, want := range map[error]string{
		tcpinfo.ErrNotAvailable:                             "  not available on this system\n",
		&net.OpError{Op: "raw-control", Err: net.ErrClosed}: "  not asked: the connection was closed before, by a fault of this end\n",
		errors.New("getsockopt: something"):                 "  getsockopt: something\n",
	} {
		if got := kernelView(tcpinfo.Info{}, err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
