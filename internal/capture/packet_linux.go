package capture

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// A packet is a segment with its first octets.
type packet struct {
	Segment
	iface int    // the index of the network interface that it was seen on
	size  int    // length there in octets, including the IP header
	data  []byte // the first of them
}

// headersMax is the maximum length of an IP header and a TCP header together.
const headersMax = 60 + 60

// decode reads the headers of a packet that has passed the filter. It returns the
// segment, and the packet's size without what Ethernet has padded it with. By hand,
// since it has to do for packets that are cut, and for those with no length in their
// header: Linux has packets that are larger than IPv4 can say (BIG TCP).
func decode(data []byte, size int) (s Segment, _ int, ok bool) {
	var src, dst netip.Addr
	ip := 0
	switch {
	case len(data) >= 20 && data[0]>>4 == 4:
		ip = int(data[0]&0xf) * 4
		if total := int(binary.BigEndian.Uint16(data[2:])); total > 0 {
			size = min(size, total)
		}
		src, dst = netip.AddrFrom4([4]byte(data[12:])), netip.AddrFrom4([4]byte(data[16:]))
	case len(data) >= 40 && data[0]>>4 == 6:
		ip = 40
		if data[6] == unix.IPPROTO_HOPOPTS {
			ip += 8
		}
		if payload := int(binary.BigEndian.Uint16(data[4:])); payload > 0 {
			size = min(size, 40+payload)
		}
		src, dst = netip.AddrFrom16([16]byte(data[8:])), netip.AddrFrom16([16]byte(data[24:]))
	}
	if ip < 20 || len(data) < ip+20 {
		return s, 0, false
	}
	tcp := data[ip:]
	return Segment{
		Src:    netip.AddrPortFrom(src, binary.BigEndian.Uint16(tcp)),
		Dst:    netip.AddrPortFrom(dst, binary.BigEndian.Uint16(tcp[2:])),
		Seq:    binary.BigEndian.Uint32(tcp[4:]),
		Ack:    binary.BigEndian.Uint32(tcp[8:]),
		Flags:  Flags(tcp[13]),
		Window: binary.BigEndian.Uint16(tcp[14:]),
		Octets: size - ip - int(tcp[12]>>4)*4,
	}, size, true
}

// An ending tracks the end of a connection in its packets.
type ending struct {
	fin   [2]uint32 // the sequence number after the FIN that was received, and sent
	has   [2]bool   // the FIN was seen
	acked [2]bool   // and its acknowledgment
}

// after reports whether the connection has ended with the segment: both FINs are
// acknowledged, or it is a RST.
func (e *ending) after(s Segment) bool {
	this, other := 0, 1
	if s.Sent {
		this, other = 1, 0
	}
	if s.Flags&FIN != 0 {
		e.fin[this], e.has[this] = s.Seq+uint32(s.Octets)+1, true
	}
	if s.Flags&ACK != 0 && e.has[other] && int32(s.Ack-e.fin[other]) >= 0 {
		e.acked[other] = true
	}
	return s.Flags&RST != 0 || e.acked == [2]bool{true, true}
}

// distinct leaves one of each packet of a connection. With a bridge, a VLAN or a bond
// it passes two interfaces of this system, which may even cut it in different ways.
// What is sent passes first the one that it is routed to, and what is received
// passes that one last; where routes differ, the first that carried anything counts.
func distinct(packets []packet) []packet {
	var sent, received int // interfaces; none is 0
	var local netip.Addr
	for _, p := range packets {
		switch {
		case p.Sent && sent == 0:
			sent, local = p.iface, p.Src.Addr()
		case !p.Sent && received == 0:
			received = p.iface
		}
	}
	if slices.ContainsFunc(packets, func(p packet) bool { return !p.Sent && p.iface == sent }) {
		received = sent
	}
	var kept []packet
	for _, p := range packets {
		iface, end := received, p.Dst
		if p.Sent {
			iface, end = sent, p.Src
		}
		// A packet with the same ports and another address belongs to a forwarded
		// connection.
		if p.iface == iface && (sent == 0 || end.Addr() == local) {
			kept = append(kept, p)
		}
	}
	return kept
}

// settle corrects times. The kernel begins to stamp packets a moment after it was
// asked; one without a stamp gets the time when it is read, which may be later than
// that of the next one. No packet is later than the one after it.
func settle(packets []packet) {
	for i := len(packets) - 2; i >= 0; i-- {
		if packets[i].At.After(packets[i+1].At) {
			packets[i].At = packets[i+1].At
		}
	}
}
