//go:build !linux

package proxy

import "io"

// copyBare passes octets from one TCP connection to another until the FIN.
func (l *link) copyBare(d *direction) (err error) {
	d.octets, err = io.Copy(d.to.TCPConn, d.from.TCPConn)
	return err
}
