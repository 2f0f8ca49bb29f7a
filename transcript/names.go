// Package transcript converts the events of an exchange into output for people and
// programs: a transcript, JSON, traces of each step, and counts.
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

// SocketName returns an address in the form of the transcript, and the wildcard
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

// HostPortName is SocketName for a host:port. The host may be a name. Text that is
// not a host:port is quoted without changes.
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

// address returns an address as host:port. All output other than the transcript uses this
// form.
func address(addr net.Addr) string {
	if addr == nil {
		return "unknown address"
	}
	return addr.String()
}

// ErrorText returns the text of the ExchangeError in err, without the errors that wrap
// it. If there is none, it returns err's own text.
func ErrorText(err error) string {
	var e *bothends.ExchangeError
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}

// Quote returns octets as a quoted string, with \xNN for those that are not printable:
// 'Hi there, server'. It uses single quotes, unless the text contains a single quote and no
// double quote.
func Quote(p []byte) string {
	quote := byte('\'')
	if bytes.IndexByte(p, '\'') >= 0 && bytes.IndexByte(p, '"') < 0 {
		quote = '"'
	}
	size := 2
	for _, c := range p {
		size += len(spelling(c, quote))
	}
	b := make([]byte, 0, size) // the final size, because a message may be large
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

// spellings contains the text that Quote writes for each octet, except for the quotes.
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

// Octets returns a size as in the transcript: sixteen-octet, and 4096-octet above twenty.
func Octets(n int) string {
	if n >= 0 && n < len(numbers) {
		return numbers[n] + "-octet"
	}
	return strconv.Itoa(n) + "-octet"
}
