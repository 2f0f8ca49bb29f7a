package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/bothends/bothends"
)

// addressesOf returns the addresses of host as host:port. An empty host is localhost.
func addressesOf(ctx context.Context, network, host, port string) (addrs []string, err error) {
	if host == "" {
		host = "localhost"
	}
	ips, err := lookup(ctx, network, host)
	if sig := signalOf(ctx); err != nil && sig != nil {
		return nil, &failure{code: exitCode(sig)}
	}
	if err != nil {
		return nil, &failure{code: exitNetwork, err: fmt.Errorf("resolve %s: %s", host, bothends.Reason(err)), hint: "check the name, or give an address"}
	}
	for _, ip := range ips {
		addrs = append(addrs, net.JoinHostPort(ip.String(), port))
	}
	return addrs, nil
}

// lookup returns the addresses of a host that the network, tcp, tcp4 or tcp6, can have. An
// address is not looked up. IPv6 addresses keep their zones, which LookupNetIP would lose.
func lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	found, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	ips := ofNetwork(network, found)
	if len(ips) == 0 {
		family := "IPv" + strings.TrimPrefix(network, "tcp")
		return nil, &net.DNSError{Err: "no " + family + " address", Name: host, IsNotFound: true}
	}
	return ips, nil
}

func ofNetwork(network string, found []net.IPAddr) (ips []netip.Addr) {
	for _, a := range found {
		ip, _ := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		if network == "tcp" || ip.Is4() == (network == "tcp4") {
			ips = append(ips, ip.WithZone(a.Zone))
		}
	}
	return ips
}

// tryLimit is the time limit for trying one of several addresses.
const tryLimit = 2 * time.Second

// answering returns the first address for which try returns nil, and the first of all if
// there is none. A single address is not tried.
func answering(ctx context.Context, addrs []string, try func(ctx context.Context, addr string) error) string {
	if len(addrs) == 1 {
		return addrs[0]
	}
	for _, addr := range addrs {
		limited, cancel := context.WithTimeout(ctx, tryLimit)
		err := try(limited, addr)
		cancel()
		if err == nil {
			return addr
		}
	}
	return addrs[0]
}
