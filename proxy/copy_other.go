//go:build !linux

package proxy

import "io"

// copyBare passes octets from one connection to another until the FIN, or until the fault
// changes: then it returns errChanged.
func (s *session) copyBare(d *direction, changed <-chan struct{}) error {
	buffer := s.proxy.buffer()
	defer s.proxy.buffers.Put(buffer)
	for !isDone(changed) {
		n, err := d.from.socket().Read(buffer[:])
		if n > 0 {
			if err := s.send(d, buffer[:n], changed); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	return errChanged
}
