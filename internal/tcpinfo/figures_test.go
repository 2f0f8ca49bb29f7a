package tcpinfo

import (
	"encoding/binary"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// freeBSDTCPInfo is struct tcp_info of FreeBSD's sys/netinet/tcp.h, field by field,
// for the compiler to count the octets.
type freeBSDTCPInfo struct {
	State, CaState, Retransmits, Probes, Backoff, Options, Wscale uint8

	Rto, Ato, SndMSS, RcvMSS                               uint32
	Unacked, Sacked, Lost, Retrans, Fackets                uint32
	LastDataSent, LastAckSent, LastDataRecv, LastAckRecv   uint32
	Pmtu, RcvSsthresh, Rtt, Rttvar, SndSsthresh, SndCwnd   uint32
	Advmss, Reordering, RcvRTT, RcvSpace                   uint32
	SndWnd, SndBwnd, SndNxt, RcvNxt, ToeTid, SndRexmitPack uint32
	RcvOooPack, SndZeroWin                                 uint32
	Pad                                                    [26]uint32
}

// windowsTCPInfo is TCP_INFO_v0 of mstcpip.h.
type windowsTCPInfo struct {
	State, Mss                                                            uint32
	ConnectionTimeMs                                                      uint64
	TimestampsEnabled                                                     bool
	RttUs, MinRTTUs, BytesInFlight, Cwnd, SndWnd, RcvWnd, RcvBuf          uint32
	BytesOut, BytesIn                                                     uint64
	BytesReordered, BytesRetrans, FastRetrans, DupAcksIn, TimeoutEpisodes uint32
	SynRetrans                                                            uint8
}

func octets[T any](t *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(t)), unsafe.Sizeof(*t))
}

func TestFreeBSD(t *testing.T) {
	raw := freeBSDTCPInfo{State: 5, SndMSS: 1448, Rtt: 1500, Rttvar: 250, SndRexmitPack: 3}
	want := Info{State: new("CLOSE_WAIT"), MSS: new(uint32(1448)), RTT: new(1500 * time.Microsecond),
		RTTVar: new(250 * time.Microsecond), Retransmissions: new(uint32(3))}
	if diff := cmp.Diff(want, freeBSD(octets(&raw))); diff != "" {
		t.Error(diff)
	}
	if size := len(octets(&raw)); size != 236 {
		t.Errorf("%d octets, not the 236 of the header", size)
	}
	raw.Rtt = 0
	want.RTT, want.RTTVar = nil, nil
	if diff := cmp.Diff(want, freeBSD(octets(&raw))); diff != "" {
		t.Errorf("no round trip measured: %s", diff)
	}
	if diff := cmp.Diff(Info{}, freeBSD(octets(&raw)[:120])); diff != "" {
		t.Errorf("an answer cut short: %s", diff)
	}
}

func TestWindows(t *testing.T) {
	raw := windowsTCPInfo{State: 7, Mss: 1460, RttUs: 800, MinRTTUs: 100}
	want := Info{State: new("CLOSE_WAIT"), MSS: new(uint32(1460)), RTT: new(800 * time.Microsecond)}
	if diff := cmp.Diff(want, windows(octets(&raw))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Info{}, windows(octets(&raw)[:20])); diff != "" {
		t.Errorf("an answer cut short: %s", diff)
	}
	binary.NativeEndian.PutUint32(octets(&raw), 260)
	if info := windows(octets(&raw)); *info.State != "UNKNOWN" {
		t.Errorf("state 260 is %s", *info.State)
	}
}

// The state alone, where the kernel has nothing else: no zeros as facts.
func TestStateAlone(t *testing.T) {
	info := figures{state: "LISTEN", rttvar: new(time.Duration), retransmissions: new(uint32)}.info()
	if diff := cmp.Diff(Info{State: new("LISTEN")}, info); diff != "" {
		t.Error(diff)
	}
}

// Each system has its own numbers for the same states.
func TestStates(t *testing.T) {
	for _, c := range []struct {
		name                string
		linux, bsd, windows uint8
	}{
		{"CLOSE", 7, 0, 0},
		{"LISTEN", 10, 1, 1},
		{"SYN_SENT", 2, 2, 2},
		{"SYN_RECV", 3, 3, 3},
		{"ESTABLISHED", 1, 4, 4},
		{"CLOSE_WAIT", 8, 5, 7},
		{"FIN_WAIT1", 4, 6, 5},
		{"CLOSING", 11, 7, 8},
		{"LAST_ACK", 9, 8, 9},
		{"FIN_WAIT2", 5, 9, 6},
		{"TIME_WAIT", 6, 10, 10},
		{"UNKNOWN", 13, 11, 11},
	} {
		if l, b, w := LinuxState(c.linux), bsdState(c.bsd), windowsState(c.windows); l != c.name || b != c.name || w != c.name {
			t.Errorf("%s: %s on Linux, %s on the BSDs, %s on Windows", c.name, l, b, w)
		}
	}
}
