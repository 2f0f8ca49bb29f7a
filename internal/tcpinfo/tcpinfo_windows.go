package tcpinfo

import (
	"os"
	"syscall"
	"unsafe"
)

const sioTCPInfo = syscall.IOC_INOUT | syscall.IOC_VENDOR | 39 // SIO_TCP_INFO of mstcpip.h, from Windows 10 1703 on

// read has been compiled for Windows, not run there; what decodes the structure is
// tested on every system. The queues are left out: Windows' FIONREAD returns what one
// call can read, which may be less than there is, and no call returns the send queue.
func read(fd int) (Info, error) {
	var version, n uint32 // version 0 of the structure
	var raw [88]byte
	err := syscall.WSAIoctl(syscall.Handle(fd), sioTCPInfo, (*byte)(unsafe.Pointer(&version)), uint32(unsafe.Sizeof(version)),
		&raw[0], uint32(len(raw)), &n, nil, 0)
	if err != nil {
		return Info{}, os.NewSyscallError("WSAIoctl SIO_TCP_INFO", err)
	}
	return windows(raw[:min(int(n), len(raw))]), nil
}
