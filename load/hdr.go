package load

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"sync"
)

// This file has HdrHistogram's V2 encoding. Its counts are the form in which a Histogram
// is packed as well: a positive number is the count of a step, and a negative one is so
// many empty steps.

// A packer packs steps that come in order. Counts of the same step are added.
type packer struct {
	packed []byte
	after  int // the step after those in packed
	step   int
	count  int64 // of step, which is not in packed yet
}

func (p *packer) add(step int, count int64) {
	if step != p.step {
		p.flush()
		p.step = step
	}
	p.count += count
}

func (p *packer) flush() {
	if p.count == 0 {
		return
	}
	switch empty := p.step - p.after; empty {
	case 0:
	case 1:
		p.packed = append(p.packed, 0) // as the other libraries write it
	default:
		p.packed = binary.AppendVarint(p.packed, -int64(empty))
	}
	p.packed = binary.AppendVarint(p.packed, p.count)
	p.after, p.count = p.step+1, 0
}

// pack returns the packed steps, in no more memory than they need.
func (p *packer) pack() []byte {
	p.flush()
	return bytes.Clone(p.packed)
}

// A cursor goes through packed steps.
type cursor struct {
	rest  []byte
	after int // the step after the last one
	step  int
	count int64
}

func (c *cursor) next() bool {
	for len(c.rest) > 0 {
		v, n := varint(c.rest)
		c.rest = c.rest[n:]
		if v > 0 {
			c.step, c.count = c.after, v
			c.after++
			return true
		}
		c.after += max(1, int(-v))
	}
	return false
}

// merged returns the sums of two that are packed.
func merged(a, b []byte) []byte {
	x, y := cursor{rest: a}, cursor{rest: b}
	p := packer{packed: make([]byte, 0, len(a)+len(b))}
	inX, inY := x.next(), y.next()
	for inX || inY {
		if inX && (!inY || x.step <= y.step) {
			p.add(x.step, x.count)
			inX = x.next()
		} else {
			p.add(y.step, y.count)
			inY = y.next()
		}
	}
	return p.pack()
}

const (
	compressedCookie = 0x1c849314
	plainCookie      = 0x1c849313
	cookieMask       = ^uint32(0xf0) // the rest is the size of a number, which V2 does not use
	mostOctets       = 1 << 20       // of the counts; the longest of ours have 264 kB
	mostCount        = 1 << 50       // a sum of such counts is still right
)

// A header comes before the counts.
type header struct {
	Cookie          uint32
	Octets          int32 // of the counts
	Normalizing     int32 // not used: it is of the writer's memory
	Digits          int32
	Lowest, Highest int64
	Ratio           float64
}

// deflaters and inflaters are kept because each has hundreds of kilobytes, and a record
// has tens of thousands of histograms.
var (
	deflaters = sync.Pool{New: func() any {
		w, _ := zlib.NewWriterLevel(nil, zlib.BestSpeed) // a higher level clears 640 kB each time
		return w
	}}
	inflaters sync.Pool
)

// MarshalJSON returns a string: HdrHistogram's V2 encoding, compressed, in base64, of
// nanoseconds. An empty Histogram is "".
func (h *Histogram) MarshalJSON() ([]byte, error) {
	if h.Count() == 0 {
		return []byte(`""`), nil
	}
	packed := h.pack()
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	w := deflaters.Get().(*zlib.Writer)
	defer deflaters.Put(w)
	w.Reset(&b)
	binary.Write(w, binary.BigEndian, header{plainCookie, int32(len(packed)), 0, digits, 1, int64(longest), 1}) // to memory: no error
	w.Write(packed)
	w.Close()
	binary.BigEndian.PutUint32(b.Bytes(), compressedCookie)
	binary.BigEndian.PutUint32(b.Bytes()[4:], uint32(b.Len()-8))
	text := append(make([]byte, 0, base64.StdEncoding.EncodedLen(b.Len())+2), '"')
	return append(base64.StdEncoding.AppendEncode(text, b.Bytes()), '"'), nil
}

// UnmarshalJSON reads what MarshalJSON returns, and histograms of other shapes: each of
// their counts is then taken for the lowest value of its step.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	*h = Histogram{}
	encoded := bytes.Trim(text, `"`)
	if len(text)-len(encoded) != 2 || bytes.IndexByte(encoded, '\\') >= 0 {
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		encoded = []byte(s)
	}
	if len(encoded) == 0 {
		return nil
	}
	if err := h.decode(encoded); err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	return nil
}

func (h *Histogram) decode(encoded []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, encoded)
	switch {
	case err != nil:
		return errors.New("it is not base64")
	case len(b) < 8 || binary.BigEndian.Uint32(b)&cookieMask != compressedCookie&cookieMask:
		return errors.New("it is not in HdrHistogram's compressed V2 encoding")
	}
	size := binary.BigEndian.Uint32(b[4:])
	if b = b[8:]; uint64(size) > uint64(len(b)) {
		return fmt.Errorf("it has %d compressed octets of %d", len(b), size)
	}
	head, counts, err := inflate(b[:size])
	if err != nil {
		return err
	}
	s, err := head.shape()
	if err != nil {
		return err
	}
	return h.fill(s, counts)
}

// inflate returns what is in compressed octets. It reads no more than mostOctets.
func inflate(compressed []byte) (head header, counts []byte, err error) {
	from := bytes.NewReader(compressed)
	r, ok := inflaters.Get().(io.ReadCloser)
	if ok {
		err = r.(zlib.Resetter).Reset(from, nil)
	} else {
		r, err = zlib.NewReader(from)
	}
	if err != nil {
		return head, nil, errors.New("it is not compressed with zlib")
	}
	defer inflaters.Put(r)
	if err := binary.Read(r, binary.BigEndian, &head); err != nil {
		return head, nil, errors.New("its header is cut off, or damaged")
	}
	switch {
	case head.Cookie&cookieMask != plainCookie&cookieMask:
		return head, nil, errors.New("it is not in HdrHistogram's V2 encoding")
	case head.Octets < 0 || head.Octets > mostOctets:
		return head, nil, fmt.Errorf("%d octets of counts; at most %d are read", head.Octets, mostOctets)
	}
	var b bytes.Buffer
	b.Grow(int(head.Octets) + bytes.MinRead)
	if n, err := b.ReadFrom(io.LimitReader(r, int64(head.Octets)+1)); err != nil || n != int64(head.Octets) {
		return head, nil, errors.New("its counts are cut off, or damaged")
	}
	return head, b.Bytes(), nil
}

func (h header) shape() (shape, error) {
	if h.Digits < 0 || h.Digits > 5 {
		return shape{}, fmt.Errorf("%d digits; at most 5 are read", h.Digits)
	}
	largest := 2 * int(math.Pow10(int(h.Digits))) // that has a step of its own
	return shape{unit: bits.Len64(uint64(max(1, h.Lowest))) - 1, half: max(1, bits.Len(uint(largest-1))) - 1}, nil
}

// fill packs the counts of a shape.
func (h *Histogram) fill(s shape, counts []byte) error {
	var p packer
	after, rest := 0, counts
	for len(rest) > 0 {
		v, n := varint(rest)
		if n <= 0 || v > mostCount || v < -math.MaxInt32 || after > math.MaxInt32 {
			return errors.New("a count is damaged, or too large")
		}
		rest = rest[n:]
		if v <= 0 {
			after += max(1, int(-v))
			continue
		}
		if h.count += v; h.count > mostCount {
			return errors.New("the counts are too large")
		}
		step := s.toOurs(after)
		if step >= slots {
			return errors.New("a duration is longer than an hour")
		}
		if s != ours {
			p.add(step, v)
		}
		after++
	}
	if h.packed = bytes.Clone(counts); s != ours {
		h.packed = p.pack()
	}
	return nil
}

// toOurs returns our step that has the lowest value of a step of s, or slots if there is
// none.
func (s shape) toOurs(step int) int {
	switch {
	case s == ours:
		return step
	case step>>s.half+s.half+s.unit > 62: // it might be too large for an int64
		return slots
	}
	lowest, _ := s.bounds(step)
	return ours.step(lowest)
}

// varint is binary.Varint. Few numbers are longer than an octet, and for the others it
// is a quarter of the time.
func varint(b []byte) (v int64, n int) {
	if b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	return binary.Varint(b)
}
