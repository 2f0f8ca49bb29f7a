// Package transcript turns the events of an exchange into what people and scripts
// read: the lines of the book chapter that this project builds, JSON, and counts.
package transcript

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bothends/bothends"
)

// SocketName writes an address as the chapter's program does, and the wildcard
// address as an empty string:
//
//	('127.0.0.1', 1060)
//	('', 1060)
func SocketName(addr net.Addr) string {
	if addr == nil {
		return "('', 0)"
	}
	return HostPortName(addr.String())
}

// HostPortName is SocketName for a host:port, whose host may be a name. A text that is
// not a host:port is quoted as it is.
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

// address returns an address as host:port, the form for everything but the chapter's
// lines.
func address(addr net.Addr) string {
	if addr == nil {
		return "unknown address"
	}
	return addr.String()
}

// ErrorText returns the text of the ExchangeError in err, without what wraps it. If
// there is none, it returns err's own text.
func ErrorText(err error) string {
	var e *bothends.ExchangeError
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}

// Quote writes octets as a quoted string, with \xNN for those that do not print:
// 'Hi there, server'. Quotes are single, unless there is one in the text and no
// double one.
func Quote(p []byte) string {
	quote := byte('\'')
	if bytes.IndexByte(p, '\'') >= 0 && bytes.IndexByte(p, '"') < 0 {
		quote = '"'
	}
	size := 2
	for _, c := range p {
		size += len(spelling(c, quote))
	}
	b := make([]byte, 0, size) // a message may be large: no growing
	b = append(b, quote)
	for _, c := range p {
		b = append(b, spelling(c, quote)...)
	}
	return string(append(b, quote))
}

func spelling(c, quote byte) string {
	if c == quote {
		return `\` + string(rune(quote))
	}
	return spellings[c]
}

// spellings are the octets as Quote writes them; the quote in use is not here.
var spellings = func() (all [256]string) {
	for c := range all {
		all[c] = fmt.Sprintf(`\x%02x`, c)
		if ' ' <= c && c <= '~' {
			all[c] = string(rune(c))
		}
	}
	all['\n'], all['\r'], all['\t'], all['\\'] = `\n`, `\r`, `\t`, `\\`
	return all
}()

var numbers = strings.Fields("zero one two three four five six seven eight nine ten eleven twelve thirteen " +
	"fourteen fifteen sixteen seventeen eighteen nineteen twenty")

// Octets names a size as the chapter does: sixteen-octet, and 4096-octet past twenty.
func Octets(n int) string {
	if n >= 0 && n < len(numbers) {
		return numbers[n] + "-octet"
	}
	return strconv.Itoa(n) + "-octet"
}
