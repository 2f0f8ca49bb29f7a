//go:build !linux

package tcpinfo

func read(int) (Info, error) { return Info{}, ErrNotAvailable }
