package adminhttp

import (
	"net/http/httptest"
	"testing"
)

// A web page in a browser, or a name that points here, gets nothing.
func TestGuardRefusesWebPages(t *testing.T) {
	g := Guard{Hosts: []string{"proxy"}}
	for _, c := range []struct {
		host, origin string
		let          bool
	}{
		{"127.0.0.1:8474", "", true}, {"127.0.0.1", "", true}, {"[::1]:8474", "", true}, {"[::1]", "", true},
		{"localhost:8474", "", true}, {"proxy:8474", "", true}, {"proxy", "", true},
		{"LOCALHOST:8474", "", true}, {"localhost.", "", true}, {"localhost.:8474", "", true}, {"Proxy.:8474", "", true},
		{"[localhost]", "", false}, {"[localhost]:8474", "", false}, {"[127.0.0.1]", "", false}, {"localhost..", "", false},
		{"evil.example:8474", "", false}, {"", "", false}, {"localhost.evil.example", "", false},
		{"127.0.0.1:8474", "http://evil.example", false}, {"localhost", "null", false}, {"localhost:8474", "http://localhost:8474", false},
	} {
		req := httptest.NewRequest("GET", "/", nil)
		req.Host = c.host
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		if why := g.Check(req); (why == "") != c.let {
			t.Errorf("host %q, origin %q: %q, want let in: %v", c.host, c.origin, why, c.let)
		}
	}
}

func TestAddress(t *testing.T) {
	for given, want := range map[string]string{
		"8474": "127.0.0.1:8474", ":8474": "127.0.0.1:8474", "0.0.0.0:8474": "0.0.0.0:8474", "[::1]:1": "[::1]:1", "x": "127.0.0.1:x",
	} {
		if got := Address(given); got != want {
			t.Errorf("Address(%q) = %q, want %q", given, got, want)
		}
	}
}
