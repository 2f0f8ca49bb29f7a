package fault

import (
	"math"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestString(t *testing.T) {
	for want, f := range map[string]Fault{
		"":                         {},
		"delay:20ms":               Delay(20 * time.Millisecond),
		"drip:3/5ms":               Drip(3, 5*time.Millisecond),
		"drip:3/0s":                Drip(3, -time.Second),
		"rate:1000":                Rate(1000),
		"stall:4":                  Stall(4),
		"close:8":                  Close(8),
		"halfclose:0":              HalfClose(0),
		"reset:10":                 Reset(10),
		"corrupt:7":                Corrupt(7),
		"refuse+hang":              Join(Refuse(), Hang()),
		"first:2(close:8)":         FailFirst(2, Close(8)),
		"7%(stall:4)":              Sometimes(0.07, Stall(4)), // 100*0.07 is 7.000000000000001
		"0.05%(stall:4)":           Sometimes(0.0005, Stall(4)),
		"33.33333333333333%(hang)": Sometimes(0.3333333333333333, Hang()),
		"for:5s(refuse)":           For(5*time.Second, Refuse()),
		"first:2(20%(drip:1/1ms+reset:10))+delay:1s": Join(
			FailFirst(2, Sometimes(0.2, Join(Drip(1, time.Millisecond), Reset(10)))), Fault{}, Delay(time.Second)),
	} {
		if f.String() != want {
			t.Errorf("%q, want %q", f, want)
		}
		if again, err := Parse(want); err != nil || !reflect.DeepEqual(again, f) {
			t.Errorf("Parse(%q) = %#v, %v; want %#v", want, again, err, f)
		}
	}
}

// What cannot strike a connection is no fault, and what strikes all is not a condition.
func TestNoFault(t *testing.T) {
	for i, f := range []Fault{
		Delay(0), Delay(-1), Drip(0, time.Second), Rate(0), Rate(-1), Stall(-1), Close(-1), HalfClose(-1), Reset(-1),
		Corrupt(-1), FailFirst(0, Refuse()), FailFirst(2, Fault{}), Sometimes(0, Refuse()), Sometimes(-1, Refuse()),
		Sometimes(math.NaN(), Refuse()), For(0, Refuse()), For(-1, Refuse()), For(time.Second, Join()), Join(Join(), Fault{}),
	} {
		if !reflect.DeepEqual(f, Fault{}) {
			t.Errorf("%d: %q is a fault", i, f)
		}
	}
	if f := Sometimes(1.5, Reset(1)); !reflect.DeepEqual(f, Reset(1)) {
		t.Errorf("with certainty: %q", f)
	}
}
