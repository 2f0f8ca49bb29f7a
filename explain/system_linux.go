package explain

import (
	"fmt"
	"net"
	"net/netip"
	"os"
)

// portRange returns a text with the range from which the kernel chooses a client's port
// (ip(7), ip_local_port_range).
func portRange() string {
	var low, high int
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return "its kernel chose a free one"
	}
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		return "its kernel chose a free one"
	}
	return fmt.Sprintf("its kernel chose a free one from the range %d to %d", low, high)
}

// timeWait reports which ends of a connection are in TIME_WAIT. It searches the kernel's
// table by the client's port, because the server's port may have thousands of rows.
func timeWait(server, client net.Addr) (serverWaits, clientWaits bool, err error) {
	sockets, err := onPort(uint16(port(client)))
	for _, s := range sockets {
		if s.State != "TIME_WAIT" {
			continue
		}
		serverWaits = serverWaits || s.Local == addrPort(server) && s.Peer == addrPort(client)
		clientWaits = clientWaits || s.Local == addrPort(client) && s.Peer == addrPort(server)
	}
	return serverWaits, clientWaits, err
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
