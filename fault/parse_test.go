package fault

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseShort(t *testing.T) {
	for text, want := range map[string]Fault{
		"":                      {},
		"reset":                 Reset(0),
		"stall+close":           Join(Stall(0), Close(0)),
		"corrupt":               Corrupt(0),
		"drip:3":                Drip(3, 0),
		"delay:1.5s":            Delay(1500 * time.Millisecond),
		"100%(hang)":            Hang(),
		"0%(hang)":              {},
		"first:0(hang)+close:1": Close(1),
		"12.5%(refuse)":         Sometimes(0.125, Refuse()),
		"delay:0":               {},
		"delay:20ms~0s":         Delay(20 * time.Millisecond),
		"delay:0s~5ms":          Jitter(0, 5*time.Millisecond),
		"delay:0s~0s":           {},
		"drip:3~1":              DripVaried(3, 1, 0),
		"reset@500ms+close@0":   Join(ResetAt(500*time.Millisecond), CloseAt(0)),
		"discard":               Discard(0),
		"slowclose:0s":          {},
		"reads(discard:0+hang)": Reads(Join(Discard(0), Hang())),
	} {
		if f, err := Parse(text); err != nil || !reflect.DeepEqual(f, want) {
			t.Errorf("Parse(%q) = %q, %v; want %q", text, f, err, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	const there = `there are delay, drip, rate, slowclose, stall, discard, close, halfclose, reset, corrupt, refuse, hang, first, for, reads and 20%`
	const wantsDuration = `needs a duration such as 20ms or 1.5s, not `
	for text, want := range map[string]string{
		"drp:3":          `fault "drp:3": there is no fault "drp"; ` + there,
		"close:8+drp:3":  `fault "close:8+drp:3": at "drp:3": there is no fault "drp"; ` + there,
		"close:8+":       `fault "close:8+": at the end: expected a fault`,
		"+close:8":       `fault "+close:8": expected a fault`,
		"first:2(close":  `fault "first:2(close": at the end: expected + or )`,
		"first:2()":      `fault "first:2()": at ")": expected a fault`,
		"close)":         `fault "close)": at ")": expected + or the end`,
		"first:2(hang)x": `fault "first:2(hang)x": at "x": expected + or the end`,
		"close:-8":       `fault "close:-8": close needs a number, not "-8"`,
		"close: 8":       `fault "close: 8": close needs a number, not " 8"`,
		"close:1_0":      `fault "close:1_0": close needs a number, not "1_0"`,
		"close:":         `fault "close:": close needs a number, not ""`,
		"close:9e18":     `fault "close:9e18": close needs a number, not "9e18"`,
		"reset:9999999999999999999": `fault "reset:9999999999999999999": reset needs a smaller number than ` +
			`"9999999999999999999"`,
		"rate":             `fault "rate": rate needs a number, not ""`,
		"rate:0":           `fault "rate:0": rate needs a number above 0`,
		"drip:0/5ms":       `fault "drip:0/5ms": drip needs a number above 0`,
		"drip:3/5":         `fault "drip:3/5": drip ` + wantsDuration + `"5"`,
		"delay":            `fault "delay": delay ` + wantsDuration + `""`,
		"delay:-1s":        `fault "delay:-1s": delay ` + wantsDuration + `"-1s"`,
		"delay:9999999h":   `fault "delay:9999999h": delay ` + wantsDuration + `"9999999h"`,
		"refuse:1":         `fault "refuse:1": refuse has no number`,
		"first:x(hang)":    `fault "first:x(hang)": first needs a number, not "x"`,
		"for:x(hang)":      `fault "for:x(hang)": for ` + wantsDuration + `"x"`,
		"first:2":          `fault "first:2": "first:2" needs faults in parentheses, as in first:2(reset)`,
		"rate@5s":          `fault "rate@5s": rate cannot have a time; stall, discard, close, halfclose and reset can`,
		"reset@":           `fault "reset@": reset ` + wantsDuration + `""`,
		"reset@1s@2s":      `fault "reset@1s@2s": reset ` + wantsDuration + `"1s@2s"`,
		"delay:1s~":        `fault "delay:1s~": delay ` + wantsDuration + `""`,
		"drip:3~x/1s":      `fault "drip:3~x/1s": drip needs a number, not "x"`,
		"reads":            `fault "reads": "reads" needs faults in parentheses, as in first:2(reset)`,
		"reads:1(hang)":    `fault "reads:1(hang)": there is no condition "reads:1"; there are first:2, for:5s, 20% and reads`,
		"hang+20%":         `fault "hang+20%": at "20%": "20%" needs faults in parentheses, as in first:2(reset)`,
		"hang+\n%":         `fault "hang+\n%": at "\n%": "\n%" needs faults in parentheses, as in first:2(reset)`,
		"close:8(hang)":    `fault "close:8(hang)": there is no condition "close:8"; there are first:2, for:5s, 20% and reads`,
		"101%(hang)":       `fault "101%(hang)": % needs a number from 0 to 100 before it, not "101"`,
		"-1%(hang)":        `fault "-1%(hang)": % needs a number from 0 to 100 before it, not "-1"`,
		"NaN%(hang)":       `fault "NaN%(hang)": % needs a number from 0 to 100 before it, not "NaN"`,
		"1e1%(hang)":       `fault "1e1%(hang)": % needs a number from 0 to 100 before it, not "1e1"`,
		"0x1%(hang)":       `fault "0x1%(hang)": % needs a number from 0 to 100 before it, not "0x1"`,
		"for:1s(hang+\nx)": `fault "for:1s(hang+\nx)": at "\nx)": there is no fault "\nx"; ` + there,
	} {
		f, err := Parse(text)
		if err == nil || err.Error() != want {
			t.Errorf("Parse(%q) = %q, %v\nwant %s", text, f, err, want)
		}
	}
}

func TestParseDepth(t *testing.T) {
	nested := func(depth int) string {
		return strings.Repeat("first:1(", depth) + "hang" + strings.Repeat(")", depth)
	}
	if f, err := Parse(nested(maxDepth)); err != nil || f.String() != nested(maxDepth) {
		t.Errorf("%d deep: %v", maxDepth, err)
	}
	_, err := Parse(nested(maxDepth + 1))
	if err == nil || !strings.HasSuffix(err.Error(), "nested more than 100 deep") {
		t.Errorf("%d deep: %v", maxDepth+1, err)
	}
	if _, err := Parse(nested(1_000_000)); err == nil || len(err.Error()) > 250 {
		t.Errorf("a million deep: %v", err)
	}
	if f, err := Parse(nested(60) + "+" + nested(60)); err != nil {
		t.Errorf("twice 60 deep: %q, %v", f, err)
	}
}

// What parses is printed as a text that parses to the same; nothing panics.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "drip:3/5ms", "delay:20ms", "rate:1000", "stall:4", "close:8", "halfclose:8", "reset:10", "corrupt:7", "refuse",
		"hang", "first:2(close:8)", "20%(stall:4)", "for:5s(refuse)", "first:2(20%(drip:1/1ms+reset:10))",
		"0.1%(hang)+100%(hang)", "99999999999999999999%(hang)", "((((", "first:1(first:1(", "\n%", "delay:20ms~5ms", "drip:3~1/5ms", "reset@500ms+stall@0+discard@1h+close@2s+halfclose@1ns", "slowclose:1s+discard:4",
		"reads(20%(close:8)+reads(hang))", "delay:1ns+rate:1+", "10.%(hang)",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := Parse(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || !reflect.DeepEqual(fault, Fault{}) {
				t.Errorf("Parse(%q) = %q, %q", text, fault, err)
			}
			return
		}
		again, err := Parse(fault.String())
		if err != nil || !reflect.DeepEqual(again, fault) {
			t.Errorf("Parse(%q) = %q, which parses as %q, %v", text, fault, again, err)
		}
	})
}
