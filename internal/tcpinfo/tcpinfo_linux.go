package tcpinfo

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// read makes the four calls by hand where x/sys hides how much the kernel filled in
// (tcp(7), TCP_INFO; the SIOC requests are of tcp(7), Ioctls).
func read(fd int) (Info, error) {
	var buffer [unsafe.Sizeof(unix.TCPInfo{})]byte
	raw, err := ask(fd, buffer[:])
	if err != nil {
		return Info{}, err
	}
	info := decode(raw)
	if name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION); err == nil {
		info.CongestionControl = &name
	}
	info.Unsent = queue(fd, unix.SIOCOUTQ)
	info.Unread = queue(fd, unix.SIOCINQ)
	return info, nil
}

// ask returns the part of buffer that the kernel has filled in.
func ask(fd int, buffer []byte) ([]byte, error) {
	n := uint32(len(buffer))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&buffer[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("getsockopt TCP_INFO", errno)
	}
	return buffer[:n], nil
}

func queue(fd int, request uint) *int {
	n, err := unix.IoctlGetInt(fd, request)
	if err != nil {
		return nil
	}
	return &n
}

// decode takes the fields that lie within what the kernel returned.
func decode(raw []byte) Info {
	var t unix.TCPInfo
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&t)), unsafe.Sizeof(t)), raw)
	told := func(offset, size uintptr) bool { return offset+size <= uintptr(len(raw)) }
	var info Info
	if told(unsafe.Offsetof(t.State), 1) {
		state := LinuxState(t.State)
		info.State = &state
	}
	if told(unsafe.Offsetof(t.Snd_mss), 4) {
		info.MSS = &t.Snd_mss
	}
	if told(unsafe.Offsetof(t.Rttvar), 4) {
		rtt, rttvar := time.Duration(t.Rtt)*time.Microsecond, time.Duration(t.Rttvar)*time.Microsecond
		info.RTT, info.RTTVar = &rtt, &rttvar
	}
	if told(unsafe.Offsetof(t.Total_retrans), 4) {
		info.Retransmissions = &t.Total_retrans
	}
	if told(unsafe.Offsetof(t.Bytes_acked), 8) {
		info.BytesAcked = &t.Bytes_acked
	}
	if told(unsafe.Offsetof(t.Bytes_received), 8) {
		info.BytesReceived = &t.Bytes_received
	}
	if told(unsafe.Offsetof(t.Delivery_rate), 8) {
		info.DeliveryRate = &t.Delivery_rate
	}
	return info
}
