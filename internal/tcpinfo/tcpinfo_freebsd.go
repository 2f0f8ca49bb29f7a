package tcpinfo

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The requests of FreeBSD's sys/filio.h that x/sys has not: _IOR('f', 127, int) and
// _IOR('f', 119, int).
const (
	fionRead  = 0x4004667f
	fionWrite = 0x40046677
)

// read has been compiled for FreeBSD, not run there; what decodes the structure is
// tested on every system.
func read(fd int) (Info, error) {
	var raw [512]byte // more than the 236 octets of today
	n := uint32(len(raw))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&raw)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return Info{}, os.NewSyscallError("getsockopt TCP_INFO", errno)
	}
	info := freeBSD(raw[:n])
	if name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION); err == nil {
		info.CongestionControl = &name
	}
	info.Unsent = queue(fd, fionWrite)
	info.Unread = queue(fd, fionRead)
	return info, nil
}

func queue(fd int, request uint) *int {
	n, err := unix.IoctlGetInt(fd, request)
	if err != nil {
		return nil
	}
	return &n
}
