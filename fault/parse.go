package fault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxDepth is how deep conditions may be nested in a text. People need two or three;
// hostile input must not fill the stack.
const maxDepth = 100

// Parse reads a fault:
//
//	delay:20ms       octets 20 ms later            stall:4       4 octets, then nothing
//	delay:20ms~5ms   15 ms to 25 ms later          discard:4     4 octets, the rest dropped
//	drip:3/5ms       pieces of 3 octets, 5 ms      close:8       8 octets, then FIN and closed
//	                 between them                  halfclose:8   8 octets, then FIN
//	drip:3~1/5ms     pieces of 2 to 4 octets       reset:10      10 octets, then RST
//	rate:1000        1000 octets per second        corrupt:7     the octet at offset 7 changed
//	slowclose:2s     FIN 2 s later                 refuse, hang  no connection is accepted
//
//	reset@500ms      after 500 ms; also stall@, discard@, close@ and halfclose@
//
//	first:2(...)     the first 2 connections       20%(...)      one connection in five
//	for:5s(...)      those of the first 5 s        reads(...)    what is received
//	a+b              both, a nearer to the program
//
// Conditions can be nested, 100 deep. A count left out is 0 and a pause left out is none
// (stall, discard, close, halfclose, reset, corrupt; drip:3). Durations are those of
// [time.ParseDuration]. There are no spaces. The empty text is no fault. An error names
// the position and what was expected there, in one line.
func Parse(s string) (Fault, error) {
	p := parser{text: s}
	if s == "" {
		return Fault{}, nil
	}
	f, err := p.join()
	if err == nil && p.at < len(s) {
		err = p.expected("+ or the end")
	}
	if err != nil {
		return Fault{}, err
	}
	return f, nil
}

// A parser is a place in a text.
type parser struct {
	text  string
	at    int
	depth int
}

func (p *parser) join() (Fault, error) {
	var all []Fault
	for {
		f, err := p.fault()
		if err != nil {
			return Fault{}, err
		}
		all = append(all, f)
		if !p.take('+') {
			return Join(all...), nil
		}
	}
}

// fault reads one fault, or a condition and the faults under it.
func (p *parser) fault() (Fault, error) {
	start := p.at
	word := p.text[start:]
	if end := strings.IndexAny(word, "+()"); end >= 0 {
		word = word[:end]
	}
	if word == "" {
		return Fault{}, p.expected("a fault")
	}
	p.at += len(word)
	var f Fault
	var err error
	if p.take('(') {
		f, err = p.condition(start, word)
	} else {
		f, err = simple(word)
	}
	if bad, ok := err.(wordError); ok {
		p.at = start
		return Fault{}, p.fail(string(bad))
	}
	return f, err
}

// condition reads from after the parenthesis to the one that closes it.
func (p *parser) condition(start int, word string) (Fault, error) {
	wrap, err := conditionOf(word)
	if err != nil {
		return Fault{}, err
	}
	if p.depth++; p.depth > maxDepth {
		p.at = start
		return Fault{}, p.fail(fmt.Sprintf("nested more than %d deep", maxDepth))
	}
	f, err := p.join()
	if err != nil {
		return Fault{}, err
	}
	if !p.take(')') {
		return Fault{}, p.expected("+ or )")
	}
	p.depth--
	return wrap(f), nil
}

func (p *parser) take(c byte) bool {
	if p.at == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) expected(what string) error {
	if p.at == len(p.text) {
		return fmt.Errorf("fault %s: at the end: expected %s", excerpt(p.text), what)
	}
	return p.fail("expected " + what)
}

// fail is an error at this place of the text.
func (p *parser) fail(why string) error {
	if p.at == 0 {
		return fmt.Errorf("fault %s: %s", excerpt(p.text), why)
	}
	return fmt.Errorf("fault %s: at %s: %s", excerpt(p.text), excerpt(p.text[p.at:]), why)
}

func excerpt(s string) string {
	const most = 60
	if len(s) <= most {
		return strconv.Quote(s)
	}
	return strconv.Quote(strings.ToValidUTF8(s[:most], "")) + "..."
}

// A wordError is what is wrong with one word, without the place.
type wordError string

func (e wordError) Error() string { return string(e) }

var simples = map[string]func(argument string, given bool) (Fault, error){
	"delay":     func(s string, _ bool) (Fault, error) { return parseDelay(s) },
	"drip":      func(s string, _ bool) (Fault, error) { return parseDrip(s) },
	"rate":      func(s string, _ bool) (Fault, error) { return with(Rate, s, positive) },
	"slowclose": func(s string, _ bool) (Fault, error) { return with(SlowClose, s, duration) },
	"stall":     octets(Stall),
	"discard":   octets(Discard),
	"close":     octets(Close),
	"halfclose": octets(HalfClose),
	"reset":     octets(Reset),
	"corrupt":   octets(Corrupt),
	"refuse":    plain(Refuse),
	"hang":      plain(Hang),
}

var timedOnes = map[string]func(time.Duration) Fault{
	"stall": StallAt, "discard": DiscardAt, "close": CloseAt, "halfclose": HalfCloseAt, "reset": ResetAt,
}

// simple is a fault without parentheses.
func simple(word string) (Fault, error) {
	if name, at, found := strings.Cut(word, "@"); found && simples[name] != nil {
		return simpleAt(name, at)
	}
	name, argument, given := strings.Cut(word, ":")
	parse, ok := simples[name]
	switch {
	case ok:
		f, err := parse(argument, given)
		if err != nil {
			return Fault{}, wordError(name + " " + err.Error())
		}
		return f, nil
	case name == "first" || name == "for" || name == "reads" || strings.HasSuffix(name, "%"):
		return Fault{}, wordError(fmt.Sprintf("%s needs faults in parentheses, as in first:2(reset)", excerpt(word)))
	}
	return Fault{}, wordError(fmt.Sprintf("there is no fault %s; there are %s, first, for, reads and 20%%",
		excerpt(name), strings.Join(kindNames[1:KindFirst], ", ")))
}

// simpleAt is a fault that strikes after a time.
func simpleAt(name, at string) (Fault, error) {
	make, ok := timedOnes[name]
	if !ok {
		return Fault{}, wordError(fmt.Sprintf("%s cannot have a time; stall, discard, close, halfclose and reset can", name))
	}
	f, err := with(make, at, duration)
	if err != nil {
		return Fault{}, wordError(name + " " + err.Error())
	}
	return f, nil
}

// conditionOf reads what is before a parenthesis.
func conditionOf(word string) (func(Fault) Fault, error) {
	name, argument, _ := strings.Cut(word, ":")
	percent, isPercent := strings.CutSuffix(word, "%")
	var wrap func(Fault) Fault
	var err error
	switch {
	case name == "first":
		var k int
		k, err = number(argument)
		wrap = func(f Fault) Fault { return FailFirst(k, f) }
	case name == "for":
		var d time.Duration
		d, err = duration(argument)
		wrap = func(f Fault) Fault { return For(d, f) }
	case word == "reads":
		wrap = Reads
	case isPercent:
		var p float64
		p, err = probability(percent)
		wrap, name = func(f Fault) Fault { return Sometimes(p, f) }, "%"
	default:
		return nil, wordError(fmt.Sprintf("there is no condition %s; there are first:2, for:5s, 20%% and reads", excerpt(word)))
	}
	if err != nil {
		return nil, wordError(name + " " + err.Error())
	}
	return wrap, nil
}

func octets(make func(int) Fault) func(string, bool) (Fault, error) {
	return func(s string, given bool) (Fault, error) {
		if !given {
			return make(0), nil
		}
		return with(make, s, number)
	}
}

func plain(make func() Fault) func(string, bool) (Fault, error) {
	return func(_ string, given bool) (Fault, error) {
		if given {
			return Fault{}, errors.New("has no number")
		}
		return make(), nil
	}
}

func parseDelay(s string) (Fault, error) {
	latency, spread, given := strings.Cut(s, "~")
	d, err := duration(latency)
	if err != nil || !given {
		return Delay(d), err
	}
	return with(func(spread time.Duration) Fault { return Jitter(d, spread) }, spread, duration)
}

func parseDrip(s string) (Fault, error) {
	size, pause, given := strings.Cut(s, "/")
	count, variation, varied := strings.Cut(size, "~")
	n, err := positive(count)
	spread := 0
	if err == nil && varied {
		spread, err = number(variation)
	}
	if err != nil || !given {
		return DripVaried(n, spread, 0), err
	}
	return with(func(d time.Duration) Fault { return DripVaried(n, spread, d) }, pause, duration)
}

func with[T any](make func(T) Fault, s string, parse func(string) (T, error)) (Fault, error) {
	value, err := parse(s)
	if err != nil {
		return Fault{}, err
	}
	return make(value), nil
}

// number is a count in digits alone: no sign, no underscores.
func number(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("needs a smaller number than %s", excerpt(s))
	}
	if err != nil || !digits(s) {
		return 0, fmt.Errorf("needs a number, not %s", excerpt(s))
	}
	return n, nil
}

func positive(s string) (int, error) {
	n, err := number(s)
	if err == nil && n == 0 {
		err = errors.New("needs a number above 0")
	}
	return n, err
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || strings.HasPrefix(s, "-") {
		return 0, fmt.Errorf("needs a duration such as 20ms or 1.5s, not %s", excerpt(s))
	}
	return d, nil
}

// probability is a percentage as a fraction of 1. The exponent keeps it exact.
func probability(s string) (float64, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	p, err := strconv.ParseFloat(s+"e-2", 64)
	if err != nil || !digits(whole) || !digits("0"+fraction) || p > 1 {
		return 0, fmt.Errorf("needs a number from 0 to 100 before it, not %s", excerpt(s))
	}
	return p, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
