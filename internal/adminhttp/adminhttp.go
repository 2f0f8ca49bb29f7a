// Package adminhttp is a local HTTP API in JSON, which web pages cannot use.
package adminhttp

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// An Error is the body of the answer to a request that has failed.
type Error struct {
	Error string `json:"error"`
}

// A Guard lets only local programs in. It refuses a request with an Origin, since a web
// page has sent it, and a request for a host that is a name other than localhost, since
// any name can point here (DNS rebinding).
type Guard struct {
	Hosts []string // further names of this host
}

// Check returns why a request is refused, or "".
func (g Guard) Check(req *http.Request) string {
	if origin := req.Header.Get("Origin"); origin != "" {
		return "requests from web pages are refused: this one has the Origin " + origin
	}
	if host := req.Host; !g.knows(host) {
		return fmt.Sprintf("the host %q is not an address, localhost or an allowed name", host)
	}
	return ""
}

// knows reports whether a request for the host is let in.
func (g Guard) knows(host string) bool {
	bracketed := strings.HasPrefix(host, "[")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if address, err := netip.ParseAddr(host); err == nil {
		return !bracketed || address.Is6()
	}
	return !bracketed && slices.ContainsFunc(append([]string{"localhost"}, g.Hosts...), func(name string) bool {
		return strings.EqualFold(strings.TrimSuffix(host, "."), strings.TrimSuffix(name, "."))
	})
}

// Answer sends a status and a body as JSON. If body is nil, there is none.
func Answer(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// Address returns the address to listen at for a port, HOST:PORT or :PORT. Without a host
// it is on loopback.
func Address(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = "", address
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Server returns a server with time limits for a client that is slow or stops.
func Server(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		MaxHeaderBytes:    16 << 10,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
