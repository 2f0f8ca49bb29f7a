package proxy

import "golang.org/x/sys/unix"

// hasHungUp reports whether the peer of a unix socket has closed it, and how many octets
// are still to be read.
func hasHungUp(fd int) (hungUp bool, unread int, known bool) {
	polled := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP is always reported (poll(2))
	if _, err := retry(func() (int, error) { return unix.Poll(polled, 0) }); err != nil {
		return false, 0, false
	}
	unread, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	return polled[0].Revents&unix.POLLHUP != 0, unread, err == nil
}
