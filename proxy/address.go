package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/bothends/bothends/internal/errno"
)

// unixPrefix starts the address of a unix socket: unix:/run/redis.sock. A path that
// starts with @ is a name in Linux's abstract namespace (unix(7)).
const unixPrefix = "unix:"

// splitNetwork returns an address as package net has it.
func splitNetwork(address string) (network, rest string) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return "unix", path
	}
	return "tcp", address
}

// addressOf returns an address of package net in the form of Proxy.Target.
func addressOf(a net.Addr) string {
	if a.Network() != "unix" {
		return a.String()
	}
	if a.String() == "@" { // which is what package net calls a socket without a name
		return unixPrefix
	}
	return unixPrefix + a.String()
}

// listen listens at an address without MPTCP, which net.Listen asks for: a proxy passes on
// plain TCP. It replaces the file of a unix socket that no program listens on.
func listen(address string) (net.Listener, error) {
	network, rest := splitNetwork(address)
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), network, rest)
	if network == "unix" && errno.AddrInUse.Has(err) && isAbandoned(rest) && os.Remove(rest) == nil {
		return config.Listen(context.Background(), network, rest)
	}
	return ln, err
}

// isAbandoned reports whether a path is a unix socket that no program listens on.
func isAbandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	return errno.Refused.Has(err)
}

// checkAddress returns an error if an address is not HOST:PORT or unix:PATH. An address to
// listen at may have no host, and port 0.
func checkAddress(address string, listen bool) error {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return checkPath(path)
	}
	name, digits, err := net.SplitHostPort(address)
	if err != nil || name != "" && !isHost(name, address[0] == '[') {
		return fmt.Errorf("%q: expected HOST:PORT, [IPv6]:PORT or unix:PATH", address)
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	switch {
	case err != nil:
		return fmt.Errorf("%q: the port must be a number from 0 to 65535", address)
	case !listen && port == 0:
		return errors.New("cannot connect to port 0")
	case !listen && name == "":
		return fmt.Errorf("%q: the host is missing", address)
	}
	return nil
}

func isHost(name string, bracketed bool) bool {
	if address, err := netip.ParseAddr(name); err == nil {
		return address.Is6() == bracketed && !strings.ContainsFunc(address.Zone(), notInZone)
	}
	return !bracketed && host.MatchString(name)
}

// notInZone reports whether no interface has a name with r. With such a zone, a line of a
// log could look like several lines.
func notInZone(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

// checkPath returns an error if a path does not fit into a socket address (unix(7)).
func checkPath(path string) error {
	longest := len(syscall.RawSockaddrUnix{}.Path) - 1
	switch {
	case path == "":
		return errors.New("unix: needs a path")
	case len(path) > longest:
		return fmt.Errorf("%q: the path of a unix socket has at most %d octets", path, longest)
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("%q: the path contains a zero octet", path)
	}
	return nil
}

// An endpoint is an address without names, which can be compared: of TCP, or a path.
type endpoint struct {
	tcp  netip.AddrPort
	path string // absolute, or a name that starts with @
}

// endpointOf returns the endpoint of an address to listen at, or of a listener. An empty
// host is the unspecified address. The endpoint of a name is the zero value.
func endpointOf(address string) endpoint {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return endpoint{path: realPath(path)}
	}
	if strings.HasPrefix(address, ":") {
		address = "[::]" + address
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return endpoint{}
	}
	return endpoint{tcp: netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}
}

// realPath returns a path without symbolic links, as far as it exists.
func realPath(path string) string {
	if strings.HasPrefix(path, "@") {
		return path
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// A group is what the endpoints of one socket have in common, whatever its host.
type group struct {
	port uint16
	path string
}

func (e endpoint) group() group { return group{e.tcp.Port(), e.path} }

// reaches reports whether a connection to target arrives at a socket that listens at
// listen.
func reaches(target, listen endpoint) bool {
	if target.path != "" || listen.path != "" {
		return target.path == listen.path
	}
	to, at := target.tcp.Addr().Unmap(), listen.tcp.Addr().Unmap()
	switch {
	case target.tcp.Port() != listen.tcp.Port() || listen.tcp.Port() == 0:
		return false
	case to == at:
		return true
	case to.IsUnspecified(): // connect(2) takes it as loopback
		return at.IsLoopback() || at.IsUnspecified()
	case !at.IsUnspecified():
		return false
	}
	return (to.Is4() || at.Is6()) && isLocal(to) // a socket at [::] takes IPv4 too
}

// isLocal reports whether an address is one of this machine.
func isLocal(address netip.Addr) bool {
	return address.IsLoopback() || own.has(address.WithZone(""))
}

// own are the addresses of this machine. Each connection may need them, and the more
// interfaces there are, the longer it takes to list them.
var own addresses

// addresses are those of all interfaces, at most a second old.
type addresses struct {
	mu    sync.Mutex
	asked time.Time
	known map[netip.Addr]bool
}

func (a *addresses) has(address netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.asked) > time.Second {
		a.ask()
	}
	return a.known[address]
}

// ask asks the system. The caller holds mu.
func (a *addresses) ask() {
	a.asked, a.known = time.Now(), make(map[netip.Addr]bool)
	all, err := net.InterfaceAddrs()
	if err != nil {
		return
	}
	for _, address := range all {
		if network, ok := address.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(network.IP); ok {
				a.known[ip.Unmap()] = true
			}
		}
	}
}
