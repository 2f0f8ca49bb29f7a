// Package transcript turns the events of an exchange into what people and scripts
// read: the lines of the book chapter that this project builds, JSON, and counts.
package transcript

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bothends/bothends"
)

// SocketName writes an address as the chapter's program does: ('127.0.0.1', 1060).
// The wildcard address is an empty string, as in: Listening at (”, 1060).
func SocketName(addr net.Addr) string {
	if addr == nil {
		return "('', 0)"
	}
	return HostPortName(addr.String())
}

// HostPortName is SocketName for a host:port, whose host may be a name. What is
// no host:port is quoted as it stands.
func HostPortName(hostport string) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return Quote([]byte(hostport))
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.IsUnspecified() {
			host = ""
		} else {
			host = ip.String()
		}
	}
	return fmt.Sprintf("(%s, %s)", Quote([]byte(host)), port)
}

// ErrorText is err's text with socket names in the chapter's form.
func ErrorText(err error) string {
	var e *bothends.ExchangeError
	if !errors.As(err, &e) {
		return err.Error()
	}
	return e.Describe(HostPortName(e.Peer))
}

// Quote writes octets as a quoted string, with \xNN for those that do not print:
// 'Hi there, server'. Quotes are single, unless there is one in the text and no
// double one.
func Quote(p []byte) string {
	quote := byte('\'')
	if s := string(p); strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.Grow(len(p) + 2)
	b.WriteByte(quote)
	for _, c := range p {
		switch {
		case c == quote || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte(quote)
	return b.String()
}

var numbers = strings.Fields("zero one two three four five six seven eight nine ten eleven twelve thirteen " +
	"fourteen fifteen sixteen seventeen eighteen nineteen twenty")

// Octets names a size as the chapter does: sixteen-octet, and 4096-octet past twenty.
func Octets(n int) string {
	if n >= 0 && n < len(numbers) {
		return numbers[n] + "-octet"
	}
	return strconv.Itoa(n) + "-octet"
}
