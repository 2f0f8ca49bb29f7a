package socktable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"github.com/bothends/bothends/internal/tcpinfo"
	"golang.org/x/sys/unix"
)

// onPort asks for each family in turn: sock_diag(7) answers for one at a time.
func onPort(port uint16) ([]Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, failed("socket", err)
	}
	defer unix.Close(fd)
	var sockets []Socket
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := unix.Sendto(fd, request(family, port), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, failed("send", err)
		}
		if sockets, err = receive(fd, sockets); err != nil {
			return nil, err
		}
	}
	return sockets, nil
}

// refusals are what a kernel without sock_diag, without its modules, and a sandbox
// say. Other errors, such as too many open files, may pass.
var refusals = []error{unix.EPERM, unix.EACCES, unix.ENOENT, unix.ENOSYS, unix.EOPNOTSUPP,
	unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.ESOCKTNOSUPPORT, unix.ECONNREFUSED}

func failed(call string, err error) error {
	if slices.Contains(refusals, err) {
		return fmt.Errorf("%w: sock_diag: %w", ErrNotAvailable, os.NewSyscallError(call, err))
	}
	return fmt.Errorf("sock_diag: %w", os.NewSyscallError(call, err))
}

// The layouts and numbers are of linux/inet_diag.h, which x/sys has not: struct
// inet_diag_req_v2, struct inet_diag_msg and struct inet_diag_bc_op.
const (
	sizeRequest = 56
	sizeRow     = 72

	attrBytecode = 1 // INET_DIAG_REQ_BYTECODE

	opJump         = 1
	opLocalAtLeast = 2 // INET_DIAG_BC_S_GE, and so on
	opLocalAtMost  = 3
	opPeerAtLeast  = 4
	opPeerAtMost   = 5
)

// request asks for the sockets of a family, in all states, that pass the filter.
func request(family byte, port uint16) []byte {
	code := filter(port)
	native := binary.NativeEndian
	length := unix.SizeofNlMsghdr + sizeRequest + unix.SizeofNlAttr + len(code)
	b := native.AppendUint32(nil, uint32(length))
	b = native.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = append(b, make([]byte, 8)...) // no sequence number: there is one question at a time
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = native.AppendUint32(b, ^uint32(0)) // all states
	b = append(b, make([]byte, unix.SizeofNlMsghdr+sizeRequest-len(b))...)
	b = native.AppendUint16(b, uint16(unix.SizeofNlAttr+len(code)))
	b = native.AppendUint16(b, attrBytecode)
	return append(b, code...)
}

// filter is the kernel's program for "local port = port or peer's port = port". An
// operation is its code, the way on when it holds, the way on when not, in octets;
// the port follows as a second one. A socket passes if the program ends right after
// the program, and fails 4 octets further. = is written as >= and <=, since the
// kernel has a code for it only from Linux 4.16 on. A jump takes its second way;
// the first must lead through all of the program, for the kernel's check of it.
func filter(port uint16) []byte {
	var code []byte
	add := func(op, yes byte, no uint16) {
		code = binary.NativeEndian.AppendUint16(append(code, op, yes), no)
	}
	add(opLocalAtLeast, 8, 20) // 0: if not, 20
	add(0, 0, port)
	add(opLocalAtMost, 8, 12) // 8: if not, 20
	add(0, 0, port)
	add(opJump, 4, 20)        // 16: 36, passed
	add(opPeerAtLeast, 8, 20) // 20: if not, 40, failed
	add(0, 0, port)
	add(opPeerAtMost, 8, 12) // 28: if not, 40, failed
	add(0, 0, port)
	return code // 36
}

// receive appends the rows of an answer, which comes in parts.
func receive(fd int, sockets []Socket) ([]Socket, error) {
	part := make([]byte, 64<<10) // the kernel makes parts of 32 KiB at most
	for done := false; !done; {
		n, _, flags, _, err := unix.Recvmsg(fd, part, nil, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, failed("recvmsg", err)
		}
		if flags&unix.MSG_TRUNC != 0 {
			return nil, errors.New("sock_diag: the kernel's answer was cut")
		}
		if sockets, done, err = parse(part[:n], sockets); err != nil {
			return nil, err
		}
	}
	return sockets, nil
}

// parse appends the rows of one part, and reports whether it was the last.
func parse(part []byte, sockets []Socket) (_ []Socket, done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(part)
	if err != nil {
		return nil, false, fmt.Errorf("sock_diag: answer: %w", err)
	}
	for _, m := range messages {
		switch {
		case m.Header.Type == unix.NLMSG_DONE || m.Header.Type == unix.NLMSG_ERROR:
			return sockets, true, status(m.Data)
		case m.Header.Type == unix.SOCK_DIAG_BY_FAMILY && len(m.Data) >= sizeRow:
			sockets = append(sockets, row(m.Data))
		}
	}
	return sockets, false, nil
}

// status reads what ends an answer: 0, or an error's number, negated.
func status(data []byte) error {
	if len(data) < 4 {
		return nil
	}
	if n := int32(binary.NativeEndian.Uint32(data)); n < 0 {
		return failed("answer", unix.Errno(-n))
	}
	return nil
}

// row reads a struct inet_diag_msg.
func row(b []byte) Socket {
	native, network := binary.NativeEndian, binary.BigEndian
	return Socket{
		State:  tcpinfo.LinuxState(b[1]),
		Local:  netip.AddrPortFrom(address(b[0], b[8:]), network.Uint16(b[4:])),
		Peer:   netip.AddrPortFrom(address(b[0], b[24:]), network.Uint16(b[6:])),
		Unread: native.Uint32(b[56:]),
		Unsent: native.Uint32(b[60:]),
		Inode:  native.Uint32(b[68:]),
	}
}

func address(family byte, b []byte) netip.Addr {
	if family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.AddrFrom16([16]byte(b)).Unmap()
}
