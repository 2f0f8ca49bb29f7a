//go:build !linux

package socktable

func onPort(uint16) ([]Socket, error) { return nil, ErrNotAvailable }
