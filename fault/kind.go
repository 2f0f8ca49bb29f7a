package fault

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Kind is what a part of a [Fault] does. The zero value is none.
type Kind uint8

// The kinds, and the functions that make parts of them.
const (
	KindDelay     Kind = iota + 1 // Delay, Jitter
	KindDrip                      // Drip, DripVaried
	KindRate                      // Rate
	KindSlowClose                 // SlowClose
	KindStall                     // Stall, StallAt
	KindDiscard                   // Discard, DiscardAt
	KindClose                     // Close, CloseAt
	KindHalfClose                 // HalfClose, HalfCloseAt
	KindReset                     // Reset, ResetAt
	KindCorrupt                   // Corrupt
	KindRefuse                    // Refuse
	KindHang                      // Hang
	KindFirst                     // FailFirst
	KindFor                       // For
	KindSometimes                 // Sometimes
	KindReads                     // Reads
)

// kindNames are the words of the language. The name of Sometimes is its percentage.
var kindNames = [...]string{
	KindDelay: "delay", KindDrip: "drip", KindRate: "rate", KindSlowClose: "slowclose", KindStall: "stall",
	KindDiscard: "discard", KindClose: "close", KindHalfClose: "halfclose", KindReset: "reset", KindCorrupt: "corrupt",
	KindRefuse: "refuse", KindHang: "hang", KindFirst: "first", KindFor: "for", KindSometimes: "%", KindReads: "reads",
}

// String returns the word for k in the language of [Parse], "%" for KindSometimes, and ""
// for the zero value.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return "Kind(" + strconv.Itoa(int(k)) + ")"
	}
	return kindNames[k]
}

// ParseKind returns the kind with that name. It is the inverse of [Kind.String].
func ParseKind(name string) (Kind, error) {
	if k := slices.Index(kindNames[:], name); k > 0 {
		return Kind(k), nil
	}
	return 0, fmt.Errorf("fault: there is no kind %s", excerpt(name))
}

// IsCondition reports whether parts of this kind decide which connections other parts
// strike.
func (k Kind) IsCondition() bool {
	return k == KindFirst || k == KindFor || k == KindSometimes
}

// A Part is one fault, or a condition or direction with the faults under it. The functions
// of this package make valid ones.
type Part struct {
	Kind Kind

	// Count is a number of octets; octets per second for a rate; connections for
	// KindFirst.
	Count int

	// Spread is by how many octets the pieces of a drip vary.
	Spread int

	// Time is how long a delay, the pause of a drip or a condition lasts, or, if Timed
	// is true, when the fault strikes.
	Time time.Duration

	// Jitter is by how much a delay varies.
	Jitter time.Duration

	// Timed reports whether the fault strikes after Time, and not after Count octets.
	Timed bool

	// Probability is that of KindSometimes, above 0 and below 1.
	Probability float64

	// Under is the faults under a condition, or those of what is received.
	Under Fault
}

// Fault returns a fault of that part alone.
func (p Part) Fault() Fault { return Fault{[]Part{p}} }

// All returns the parts of f, the leftmost first, and each condition before the parts
// under it.
func (f Fault) All() iter.Seq[Part] {
	return func(yield func(Part) bool) { f.each(yield) }
}

func (f Fault) each(yield func(Part) bool) bool {
	for _, p := range f.parts {
		if !yield(p) || !p.Under.each(yield) {
			return false
		}
	}
	return true
}

// Has reports whether a part of f is of one of the kinds, also one under a condition.
func (f Fault) Has(kinds ...Kind) bool {
	for p := range f.All() {
		if slices.Contains(kinds, p.Kind) {
			return true
		}
	}
	return false
}

// IsZero reports whether f is no fault.
func (f Fault) IsZero() bool { return len(f.parts) == 0 }

// String returns the fault in the language of [Parse], which makes an equal one of it. It
// returns "" if there is none.
func (f Fault) String() string {
	texts := make([]string, len(f.parts))
	for i, p := range f.parts {
		texts[i] = p.String()
	}
	return strings.Join(texts, "+")
}

// String returns the part in the language of [Parse].
func (p Part) String() string {
	name := p.Kind.String()
	switch p.Kind {
	case KindDelay:
		if p.Jitter > 0 {
			return name + ":" + p.Time.String() + "~" + p.Jitter.String()
		}
		return name + ":" + p.Time.String()
	case KindDrip:
		size := strconv.Itoa(p.Count)
		if p.Spread > 0 {
			size += "~" + strconv.Itoa(p.Spread)
		}
		return name + ":" + size + "/" + p.Time.String()
	case KindSlowClose:
		return name + ":" + p.Time.String()
	case KindRefuse, KindHang:
		return name
	case KindFor:
		return name + ":" + p.Time.String() + "(" + p.Under.String() + ")"
	case KindSometimes:
		return percentage(p.Probability) + "%(" + p.Under.String() + ")"
	case KindFirst:
		return name + ":" + strconv.Itoa(p.Count) + "(" + p.Under.String() + ")"
	case KindReads:
		return name + "(" + p.Under.String() + ")"
	}
	if p.Timed {
		return name + "@" + p.Time.String()
	}
	return name + ":" + strconv.Itoa(p.Count)
}

// percentage moves the point of p's shortest decimal: 100*p would be rounded, and
// read back as another number.
func percentage(p float64) string {
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(p, 'f', -1, 64), ".")
	fraction += "00"
	whole = strings.TrimLeft(whole+fraction[:2], "0")
	fraction = strings.TrimRight(fraction[2:], "0")
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return whole + fraction
}
