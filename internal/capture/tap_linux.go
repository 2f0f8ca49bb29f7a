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

// A tap is the packet socket of one connection and the packets that it received.
type tap struct {
	c           *Capture
	local, peer netip.AddrPort
	file        *os.File
	raw         syscall.RawConn
	done        chan struct{} // closed when the reading goroutine has ended
	ended       chan struct{} // closed when the connection has ended

	// Guarded by c.mu.
	over    bool // ended is closed
	ending  ending
	packets []packet
}

// socketBuffer is the size of the kernel's buffer for packets that are not read.
const socketBuffer = 16 << 20

// newTap opens a packet socket that receives only this connection from the start:
// protocol 0 receives nothing until the filter is attached.
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

// read is the goroutine of the tap. It runs until the deadline.
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

// drain reads all packets that have arrived.
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

// take adds a packet. The caller must hold c.mu.
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

// ancillary returns the kernel's timestamp and the length of the packet.
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

// catchUp reads the packets that have arrived, and reports whether there is an end to
// wait for. The kernel passes a packet to taps before TCP processes it, so a connection
// that was made has packets here by now.
func (t *tap) catchUp() (wait bool) {
	if err := control(t.raw, t.drain); err != nil {
		t.c.fail(t.peer, err)
		return false
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	return len(t.packets) > 0 && !t.over
}

// close stops the reader, reads the remaining packets, and gets the number of dropped ones.
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
