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

// lookUp returns the addresses of host as host:port. The network is "tcp", "tcp4" or
// "tcp6". An empty host is localhost. An IP address is not looked up.
func lookUp(ctx context.Context, network, host, port string) (addrs []string, err error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{net.JoinHostPort(host, port)}, nil
	}
	if host == "" {
		host = "localhost"
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host) // with zones, which LookupNetIP loses
	for _, ip := range ips {
		if is4 := ip.IP.To4() != nil; network == "tcp" || is4 == (network == "tcp4") {
			addrs = append(addrs, net.JoinHostPort(ip.String(), port))
		}
	}
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no IPv" + strings.TrimPrefix(network, "tcp") + " address", Name: host, IsNotFound: true}
	}
	if err == nil {
		return addrs, nil
	}
	if sig := signalOf(ctx); sig != nil {
		return nil, &failure{code: exitCode(sig)}
	}
	return nil, &failure{code: exitNetwork, err: fmt.Errorf("resolve '%s': %s", host, bothends.Reason(err)), hint: "check the name, or give an address"}
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
