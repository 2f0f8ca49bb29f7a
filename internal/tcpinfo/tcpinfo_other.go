//go:build !linux && !darwin && !freebsd && !windows

package tcpinfo

func read(int) (Info, error) { return Info{}, ErrNotAvailable }
