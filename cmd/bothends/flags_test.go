package main

import (
	"bytes"
	"testing"

	"github.com/bothends/bothends/transcript"
)

func TestHostPort(t *testing.T) {
	for _, c := range []struct {
		arg, host string
		port      portFlag
		wrong     bool
	}{
		{"localhost", "localhost", 7, false},
		{"localhost:80", "localhost", 80, false},
		{"127.0.0.1", "127.0.0.1", 7, false},
		{"127.0.0.1:80", "127.0.0.1", 80, false},
		{"::1", "::1", 7, false},
		{"[::1]", "::1", 7, false},
		{"[::1]:80", "::1", 80, false},
		{"fe80::1%lo", "fe80::1%lo", 7, false},
		{"[fe80::1%lo]:80", "fe80::1%lo", 80, false},
		{":80", "", 80, false},
		{"", "", 7, false},
		{"localhost:", "", 0, true},
		{"localhost:-1", "", 0, true},
		{"localhost:65536", "", 0, true},
		{"a:b:c", "", 0, true},
		{"[::1", "", 0, true},
	} {
		host, port, err := hostPort([]string{c.arg}, 7)
		if host != c.host || port != c.port && !c.wrong || (err != nil) != c.wrong {
			t.Errorf("%q: %q, %d, %v", c.arg, host, port, err)
		}
	}
}

// What a transcript quotes can be given back as a message.
func FuzzUnescape(f *testing.F) {
	f.Add([]byte("Hi there, server"))
	f.Add([]byte("it's \"a\"\\\r\n\t\x00\xff\u00e9"))
	f.Fuzz(func(t *testing.T, octets []byte) {
		quoted := transcript.Quote(octets)
		back, err := unescape(quoted[1 : len(quoted)-1])
		if err != nil || !bytes.Equal(back, octets) {
			t.Errorf("%q quoted is %s, and read again %q, %v", octets, quoted, back, err)
		}
		unescape(string(octets)) // must not panic
	})
}
