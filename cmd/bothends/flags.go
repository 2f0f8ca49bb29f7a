package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/transcript"
)

// maxMessage is the maximum length of a message in the commands. The library has no limit.
const maxMessage = 64 << 20

// exchangeFlags are the flags that server and client share.
type exchangeFlags struct {
	port    portFlag
	v4, v6  bool
	timeout timeoutFlag
	output  choiceFlag
	quiet   bool
	trace   bool
	fault   faultFlag
	seed    uint64
}

func (f *exchangeFlags) add(cmd *cobra.Command) {
	f.port = bothends.DefaultPort
	f.timeout = timeoutFlag(bothends.DefaultTimeout)
	f.output = choiceFlag{value: "text", name: "text|json", choices: []string{"text", "json"}}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.VarP(&f.port, "port", "p", "TCP port if HOST has none")
	flags.BoolVarP(&f.v4, "ipv4", "4", false, "IPv4 only")
	flags.BoolVarP(&f.v6, "ipv6", "6", false, "IPv6 only")
	flags.Var(&f.timeout, "timeout", "time limit per exchange, 0 means none")
	flags.VarP(&f.output, "output", "o", "format, json prints one object per exchange")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "errors only")
	flags.BoolVar(&f.trace, "trace", false, "each step, on standard error or in the JSON object")
	flags.Var(&f.fault, "fault", "faults to inject, such as reset:10 or 20%(stall:4)")
	flags.Uint64Var(&f.seed, "seed", 0, "random seed `N` for the percentages in --fault")
}

// network returns the network for net.Dial and net.Listen. For an IPv4 address it returns
// "tcp4", because with "tcp" net also listens on IPv6 for 0.0.0.0.
func (f *exchangeFlags) network(host string) (string, error) {
	ip, err := netip.ParseAddr(host)
	isV4, isV6 := err == nil && ip.Unmap().Is4(), err == nil && !ip.Unmap().Is4()
	switch {
	case f.v4 && f.v6:
		return "", errors.New("-4 and -6 exclude each other")
	case f.v4 && isV6:
		return "", fmt.Errorf("%s is not an IPv4 address, and -4 is given", host)
	case f.v6 && isV4:
		return "", fmt.Errorf("%s is not an IPv6 address, and -6 is given", host)
	case f.v4 || isV4:
		return "tcp4", nil
	case f.v6:
		return "tcp6", nil
	}
	return "tcp", nil
}

// taker returns the name that --trace uses for the receiver of the octets that this end
// sends.
func (f *exchangeFlags) taker() string {
	if f.fault.String() != "" {
		return "--fault"
	}
	return "the kernel"
}

func oneHost(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError(cmd, fmt.Errorf("expected one HOST, got %d", len(args)))
	}
	return nil
}

// hostPort parses HOST, HOST:PORT, [V6] or [V6]:PORT. It returns the port in HOST, or else
// port.
func hostPort(args []string, port portFlag) (host string, _ portFlag, err error) {
	if len(args) == 0 {
		return "", port, nil
	}
	arg := args[0]
	if _, err := netip.ParseAddr(arg); err == nil || !strings.ContainsAny(arg, ":[]/ ") {
		return arg, port, nil
	}
	if inner, ok := strings.CutPrefix(arg, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]"), port, nil
	}
	host, digits, err := net.SplitHostPort(arg)
	if err != nil {
		return "", 0, fmt.Errorf("HOST %q: must be a name, an IP address, HOST:PORT or [IPv6]:PORT", arg)
	}
	if err := port.Set(digits); err != nil {
		return "", 0, fmt.Errorf("HOST %q: port %q: %w", arg, digits, err)
	}
	return host, port, nil
}

// sourceAddr parses ADDR, ADDR:PORT or :PORT.
func sourceAddr(s string) (*net.TCPAddr, error) {
	host, port, err := hostPort([]string{s}, 0)
	if err != nil {
		return nil, fmt.Errorf("--source %q: must be ADDR, ADDR:PORT or :PORT", s)
	}
	addr := &net.TCPAddr{Port: int(port)}
	if host != "" {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return nil, fmt.Errorf("--source %q: %q is not an IP address", s, host)
		}
		addr.IP, addr.Zone = ip.Unmap().AsSlice(), ip.Zone()
	}
	return addr, nil
}

type portFlag uint16

func (p *portFlag) String() string { return strconv.Itoa(int(*p)) }
func (p *portFlag) Type() string   { return "PORT" }
func (p *portFlag) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return errors.New("must be a number from 0 to 65535")
	}
	*p = portFlag(n)
	return nil
}

// A rateFlag is a number per second.
type rateFlag struct{ to *float64 }

func (f rateFlag) String() string {
	if f.to == nil { // pflag calls String on the zero value
		return "0"
	}
	return strconv.FormatFloat(*f.to, 'g', -1, 64)
}
func (f rateFlag) Type() string { return "N" }
func (f rateFlag) Set(s string) error {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0 && n <= 1e9) {
		return errors.New("must be a number from 0 to 1000000000")
	}
	*f.to = n
	return nil
}

// A sizeFlag is the length of a message in octets.
type sizeFlag int

func (f *sizeFlag) String() string { return strconv.Itoa(int(*f)) }
func (f *sizeFlag) Type() string   { return "N" }
func (f *sizeFlag) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxMessage {
		return fmt.Errorf("must be a number of octets from 1 to %d", maxMessage)
	}
	*f = sizeFlag(n)
	return nil
}

// A manyFlag is a number of concurrent connections.
type manyFlag int

func (f *manyFlag) String() string { return strconv.Itoa(int(*f)) }
func (f *manyFlag) Type() string   { return "N" }
func (f *manyFlag) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1_000_000 {
		return errors.New("must be a whole number from 1 to 1000000")
	}
	*f = manyFlag(n)
	return nil
}

// A timeoutFlag is a duration; zero means none.
type timeoutFlag time.Duration

func (f *timeoutFlag) String() string { return time.Duration(*f).String() }
func (f *timeoutFlag) Type() string   { return "DURATION" }
func (f *timeoutFlag) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return errors.New("must be a duration such as 1.5s, 200ms or 0")
	}
	*f = timeoutFlag(d)
	return nil
}

func (f timeoutFlag) orNone() time.Duration { return noneIfZero(time.Duration(f)) }

// A countFlag is a limit; zero means none.
type countFlag int

func (f *countFlag) String() string { return strconv.Itoa(int(*f)) }
func (f *countFlag) Type() string   { return "N" }
func (f *countFlag) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 1<<30 {
		return errors.New("must be a whole number, 0 means no limit")
	}
	*f = countFlag(n)
	return nil
}

func (f countFlag) orNone() int { return noneIfZero(int(f)) }

// noneIfZero returns -1 if setting is 0, and setting otherwise. In the library, zero means
// the default and negative means none.
func noneIfZero[T int | time.Duration](setting T) T {
	if setting == 0 {
		return -1
	}
	return setting
}

type choiceFlag struct {
	value   string
	name    string // in the help
	choices []string
}

func (f *choiceFlag) String() string { return f.value }
func (f *choiceFlag) Type() string   { return f.name }
func (f *choiceFlag) Set(s string) error {
	for _, c := range f.choices {
		if s == c {
			f.value = s
			return nil
		}
	}
	return fmt.Errorf("must be %s", either(f.choices))
}

// either returns choices as "a, b or c".
func either(choices []string) string {
	last := len(choices) - 1
	return strings.Join(choices[:last], ", ") + " or " + choices[last]
}

// A textFlag is the content of a message: TEXT with escapes such as \x00 and \n, or @FILE
// for the content of a file.
type textFlag struct {
	octets []byte
	shown  string
	given  bool
}

var _ pflag.Value = (*textFlag)(nil)

func (f *textFlag) String() string { return f.shown }
func (f *textFlag) Type() string   { return "TEXT" }
func (f *textFlag) Set(s string) (err error) {
	var octets []byte
	if name, ok := strings.CutPrefix(s, "@"); ok {
		octets, err = readAtMost(name, maxMessage)
	} else {
		octets, err = unescape(s)
	}
	if err != nil {
		return err
	}
	if len(octets) > maxMessage {
		return fmt.Errorf("must have at most %d octets", maxMessage)
	}
	f.octets, f.shown, f.given = octets, s, true
	return nil
}

func readAtMost(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most+1))
}

func unescape(s string) ([]byte, error) {
	b := make([]byte, 0, len(s))
	for s != "" {
		if s[0] != '\\' {
			b, s = append(b, s[0]), s[1:]
			continue
		}
		if len(s) >= 2 && s[1] == '0' && (len(s) == 2 || s[2] < '0' || s[2] > '7') {
			b, s = append(b, 0), s[2:] // \0 is in C, but not in Go
			continue
		}
		if len(s) >= 2 && (s[1] == '\'' || s[1] == '"') {
			b, s = append(b, s[1]), s[2:]
			continue
		}
		r, multibyte, tail, err := strconv.UnquoteChar(s, 0)
		if err != nil {
			return nil, fmt.Errorf(`%q is not an escape: use \n \r \t \\ \' \" \0 \xNN or \uNNNN`, s[:min(4, len(s))])
		}
		if multibyte {
			b = append(b, string(r)...)
		} else {
			b = append(b, byte(r))
		}
		s = tail
	}
	return b, nil
}

// A faultFlag is the fault to inject.
type faultFlag struct{ fault.Fault }

func (f *faultFlag) Type() string { return "SPEC" }
func (f *faultFlag) Set(s string) (err error) {
	f.Fault, err = fault.Parse(s)
	return err
}

// A shareFlag is a fraction from 0 to 1. On the command line it is a percentage.
type shareFlag float64

func (f *shareFlag) String() string { return strconv.FormatFloat(float64(*f)*100, 'g', -1, 64) + "%" }
func (f *shareFlag) Type() string   { return "P%" }
func (f *shareFlag) Set(s string) error {
	digits, ok := strings.CutSuffix(s, "%")
	p, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(p >= 0 && p <= 100) {
		return errors.New("must be a percentage such as 5%")
	}
	*f = shareFlag(p / 100)
	return nil
}

// asciiOnly reports whether the locale excludes Unicode (POSIX, 8.2).
func asciiOnly() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToLower(os.Getenv(name)); locale != "" {
			return !strings.Contains(locale, "utf-8") && !strings.Contains(locale, "utf8")
		}
	}
	return false
}

// maxColumns is the maximum number of columns that the commands print.
const maxColumns = 80

// columns returns the maximum width of a line for out: 80 columns, or the width of the
// terminal if it is less.
func columns(out io.Writer) int {
	if file, ok := fileOf(out); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			return min(width, maxColumns)
		}
	}
	return maxColumns
}

// folding returns a writer to out. If out is a terminal with fewer than 80 columns, the
// writer folds lines to its width.
func folding(out io.Writer) io.Writer {
	if width := columns(out); width < maxColumns {
		return &folder{out, width}
	}
	return out
}

type folder struct {
	out   io.Writer
	width int
}

func (f *folder) Write(lines []byte) (int, error) {
	if _, err := io.WriteString(f.out, transcript.Fold(string(lines), f.width)); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// wantsColor reports whether out gets colors with the given value of --color.
func wantsColor(out io.Writer, choice string) bool {
	if choice != "auto" {
		return choice == "always"
	}
	return controls(out) && os.Getenv("NO_COLOR") == ""
}

// controls reports whether out is a terminal that supports control sequences, such as
// those for colors and for erasing a line.
func controls(out io.Writer) bool {
	file, ok := fileOf(out)
	return ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
}
