package capture

import (
	"net/netip"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A check passes a packet if the loaded value has the expected value.
type check struct {
	load []bpf.Instruction
	is   uint32
}

// attach limits the packet socket to the segments between the two ends,
// and to the first octets of each. An unspecified local address matches any.
func attach(fd int, local, peer netip.AddrPort, octets uint32) error {
	raw, err := bpf.Assemble(filter(local, peer, octets))
	if err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
}

// filter returns a program that tries the possible forms of a segment sequentially.
func filter(local, peer netip.AddrPort, octets uint32) []bpf.Instruction {
	// On loopback each packet passes twice, as it is sent and as it is received. The
	// first is kept: its time is when it was sent, for both ends.
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLinkLayerType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ARPHRD_LOOPBACK, SkipTrue: 3},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
	for _, ends := range [][2]netip.AddrPort{{local, peer}, {peer, local}} {
		if peer.Addr().Is4() {
			program = append(program, pass(ipv4(ends[0], ends[1]), octets)...)
			continue
		}
		program = append(program, pass(ipv6(ends[0], ends[1]), octets)...)
		program = append(program, pass(jumbo(ends[0], ends[1]), octets)...)
	}
	return append(program, bpf.RetConstant{Val: 0})
}

// pass returns instructions that accept a packet that passes all checks. Other packets
// continue after them.
func pass(checks []check, octets uint32) []bpf.Instruction {
	end := 1
	for _, c := range checks {
		end += len(c.load) + 1
	}
	var program []bpf.Instruction
	for _, c := range checks {
		program = append(program, c.load...)
		program = append(program, bpf.JumpIf{
			Cond: bpf.JumpNotEqual, Val: c.is, SkipTrue: uint8(end - len(program) - 1),
		})
	}
	return append(program, bpf.RetConstant{Val: octets})
}

func ipv4(src, dst netip.AddrPort) []check {
	port := func(offset uint32) []bpf.Instruction { // after the IP options, if any
		return []bpf.Instruction{bpf.LoadMemShift{Off: 0}, bpf.LoadIndirect{Off: offset, Size: 2}}
	}
	checks := []check{
		{masked(0, 1, 0xf0), 4 << 4},
		{load(9, 1), unix.IPPROTO_TCP},
		{masked(6, 2, 0x1fff), 0}, // not a later fragment, which has no TCP header
		{port(0), uint32(src.Port())},
		{port(2), uint32(dst.Port())},
	}
	checks = append(checks, address(12, src.Addr())...)
	return append(checks, address(16, dst.Addr())...)
}

func ipv6(src, dst netip.AddrPort) []check {
	return append(ipv6Ends(src, dst, 40), check{load(6, 1), unix.IPPROTO_TCP})
}

// jumbo is the form in which Linux passes a segment of more than 64 KiB (BIG TCP), with its
// length in a hop-by-hop option of eight octets (RFC 2675).
func jumbo(src, dst netip.AddrPort) []check {
	return append(ipv6Ends(src, dst, 48),
		check{load(6, 1), unix.IPPROTO_HOPOPTS}, check{load(40, 2), unix.IPPROTO_TCP << 8})
}

// ipv6Ends checks the addresses, and the ports after headers of the given length.
func ipv6Ends(src, dst netip.AddrPort, headers uint32) []check {
	checks := []check{
		{masked(0, 1, 0xf0), 6 << 4},
		{load(headers, 2), uint32(src.Port())},
		{load(headers+2, 2), uint32(dst.Port())},
	}
	checks = append(checks, address(8, src.Addr())...)
	return append(checks, address(24, dst.Addr())...)
}

// address returns checks that compare an address, 4 octets at a time.
func address(offset uint32, a netip.Addr) []check {
	if a.IsUnspecified() {
		return nil
	}
	var checks []check
	for octets := a.AsSlice(); len(octets) > 0; octets = octets[4:] {
		word := uint32(octets[0])<<24 | uint32(octets[1])<<16 | uint32(octets[2])<<8 | uint32(octets[3])
		checks = append(checks, check{load(offset, 4), word})
		offset += 4
	}
	return checks
}

func load(offset uint32, size int) []bpf.Instruction {
	return []bpf.Instruction{bpf.LoadAbsolute{Off: offset, Size: size}}
}

func masked(offset uint32, size int, mask uint32) []bpf.Instruction {
	return append(load(offset, size), bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask})
}
