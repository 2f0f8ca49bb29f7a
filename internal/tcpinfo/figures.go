package tcpinfo

import (
	"encoding/binary"
	"time"
)

// figures are the data of macOS, FreeBSD and Windows. Decoding them does not need
// these systems, so it is tested on any system.
type figures struct {
	state           string
	mss             uint32
	rtt             time.Duration
	rttvar          *time.Duration
	retransmissions *uint32
}

// info leaves out zeros that stand for nothing read: without a segment size the
// kernel has filled in the state alone, and a round trip of 0 is one not measured
// yet, or, on macOS, one below its millisecond.
func (f figures) info() Info {
	info := Info{State: &f.state}
	if f.mss == 0 {
		return info
	}
	info.MSS, info.Retransmissions = &f.mss, f.retransmissions
	if f.rtt != 0 {
		info.RTT, info.RTTVar = &f.rtt, f.rttvar
	}
	return info
}

// freeBSD reads struct tcp_info of FreeBSD's sys/netinet/tcp.h, which has Linux's
// order at first, and then its own. The fields read here have been in their places
// since FreeBSD 10, and tcp_fill_info of tcp_usrreq.c sets them; of the others many
// are there and always 0. The times are microseconds.
func freeBSD(raw []byte) Info {
	const state, sndMSS, rtt, rttvar, sndRexmitPack = 0, 16, 68, 72, 120
	if len(raw) < sndRexmitPack+4 {
		return Info{}
	}
	variance := micros(raw[rttvar:])
	retransmissions := binary.NativeEndian.Uint32(raw[sndRexmitPack:])
	return figures{
		state:           bsdState(raw[state]),
		mss:             binary.NativeEndian.Uint32(raw[sndMSS:]),
		rtt:             micros(raw[rtt:]),
		rttvar:          &variance,
		retransmissions: &retransmissions,
	}.info()
}

// windows reads TCP_INFO_v0 of mstcpip.h. It counts octets sent again, and not
// segments.
func windows(raw []byte) Info {
	const state, mss, rttUs = 0, 4, 20
	if len(raw) < rttUs+4 {
		return Info{}
	}
	return figures{
		state: windowsState(uint8(min(binary.NativeEndian.Uint32(raw[state:]), 255))),
		mss:   binary.NativeEndian.Uint32(raw[mss:]),
		rtt:   micros(raw[rttUs:]),
	}.info()
}

func micros(raw []byte) time.Duration {
	return time.Duration(binary.NativeEndian.Uint32(raw)) * time.Microsecond
}
