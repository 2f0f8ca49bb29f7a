package capture

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A tap is the packet socket of one connection, and what has come through it.
type tap struct {
	c           *Capture
	local, peer netip.AddrPort
	file        *os.File
	raw         syscall.RawConn
	done        chan struct{} // the reading goroutine is gone
	ended       chan struct{} // the connection is

	// Guarded by c.mu.
	over    bool // ended is closed
	ending  ending
	packets []packet
}

// socketBuffer is for what comes while the reader does not run.
const socketBuffer = 16 << 20

// newTap opens a packet socket that sees this connection alone from its first moment
// on: protocol 0 sees nothing until the filter is in its place.
func newTap(c *Capture, local, peer netip.AddrPort) (*tap, error) {
	file, err := packetSocket()
	if err != nil {
		return nil, err
	}
	t := &tap{c: c, local: local, peer: peer, file: file, done: make(chan struct{}), ended: make(chan struct{})}
	if t.raw, err = file.SyscallConn(); err == nil {
		err = control(t.raw, t.open)
	}
	if err == nil {
		err = file.SetReadDeadline(time.Time{}) // or there would be no way to wake the reader
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	go t.read()
	return t, nil
}

func packetSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt SO_TIMESTAMPNS", err)
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

func (t *tap) open(fd int) error {
	octets := max(t.c.snapLen, headersMax) // decode wants the headers
	if err := attach(fd, t.local, t.peer, uint32(octets)); err != nil {
		return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, t.c.socketBuffer) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, t.c.socketBuffer) // as far as the system's limit
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return os.NewSyscallError("setsockopt PACKET_AUXDATA", err)
	}
	everything := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network order; ETH_P_IP would not see what is sent
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything}))
}

// read is the goroutine of the tap, until its deadline passes.
func (t *tap) read() {
	defer close(t.done)
	var failure error
	err := t.raw.Read(func(fd uintptr) bool {
		failure = t.drain(int(fd))
		return failure != nil
	})
	if failure == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		failure = err
	}
	if failure != nil {
		t.c.fail(t.peer, failure)
	}
}

// drain takes all packets that have come.
func (t *tap) drain(fd int) error {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	var oob [256]byte
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, t.c.buffer, oob[:], 0)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("recvmsg", err)
		}
		at, size := ancillary(oob[:oobn])
		if link, ok := from.(*unix.SockaddrLinklayer); ok {
			t.take(t.c.buffer[:n], max(n, size), link.Ifindex, at)
		}
	}
}

// take adds a packet. The caller holds c.mu.
func (t *tap) take(data []byte, size, iface int, at time.Time) {
	segment, size, ok := decode(data, size)
	if !ok {
		return // the filter lets no such packet through
	}
	data = data[:min(len(data), size, t.c.snapLen)]
	segment.At = at
	segment.Sent = segment.Dst == t.peer
	if t.ending.after(segment) && !t.over {
		t.over = true
		close(t.ended)
	}
	const besides = int(unsafe.Sizeof(packet{}))
	if t.c.room < len(data)+besides {
		t.c.lost.Memory++
		return
	}
	t.c.room -= len(data) + besides
	t.packets = append(t.packets, packet{Segment: segment, iface: iface, size: size, data: append([]byte(nil), data...)})
}

// ancillary reads the kernel's time and the size that the packet had.
func ancillary(oob []byte) (at time.Time, size int) {
	at = time.Now()
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return at, 0
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS:
			var ts unix.Timespec
			if copy(unsafe.Slice((*byte)(unsafe.Pointer(&ts)), unsafe.Sizeof(ts)), m.Data) == int(unsafe.Sizeof(ts)) {
				at = time.Unix(ts.Unix())
			}
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA:
			var aux unix.TpacketAuxdata
			if copy(unsafe.Slice((*byte)(unsafe.Pointer(&aux)), unsafe.Sizeof(aux)), m.Data) == int(unsafe.Sizeof(aux)) {
				size = int(aux.Len)
			}
		}
	}
	return at, size
}

// catchUp takes what has come, and tells whether there is an end to wait for: the
// kernel hands a packet to taps before TCP sees it, so that a connection that was
// made has packets here by now.
func (t *tap) catchUp() (wait bool) {
	if err := control(t.raw, t.drain); err != nil {
		t.c.fail(t.peer, err)
		return false
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	return len(t.packets) > 0 && !t.over
}

// close stops the reader, takes what it has left, and asks for what was dropped.
func (t *tap) close() {
	t.file.SetReadDeadline(time.Unix(1, 0))
	<-t.done
	t.catchUp()
	err := control(t.raw, func(fd int) error {
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			return os.NewSyscallError("getsockopt PACKET_STATISTICS", err)
		}
		t.c.mu.Lock()
		defer t.c.mu.Unlock()
		t.c.lost.Kernel += uint64(stats.Drops)
		return nil
	})
	if err != nil {
		t.c.fail(t.peer, err)
	}
	t.file.Close()
}

// control calls f with the descriptor.
func control(raw syscall.RawConn, f func(fd int) error) error {
	var err error
	if outer := raw.Control(func(fd uintptr) { err = f(int(fd)) }); outer != nil {
		return outer
	}
	return err
}
