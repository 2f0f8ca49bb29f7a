package fault

import (
	"slices"
	"testing"
)

func TestKinds(t *testing.T) {
	for k := KindDelay; k <= KindReads; k++ {
		if again, err := ParseKind(k.String()); again != k || err != nil {
			t.Errorf("%d is %q, which is %d, %v", k, k, again, err)
		}
	}
	for _, name := range []string{"", "nonsense", "Kind(99)"} {
		if k, err := ParseKind(name); k != 0 || err == nil {
			t.Errorf("ParseKind(%q) = %v, %v", name, k, err)
		}
	}
	if s := Kind(99).String(); s != "Kind(99)" {
		t.Error(s)
	}
}

func TestAll(t *testing.T) {
	f := parse(t, "delay:1s~2ms+first:2(20%(drip:3~1/5ms+reset@1s))+reads(for:1s(close:8))")
	var kinds []Kind
	texts := ""
	for p := range f.All() {
		kinds = append(kinds, p.Kind)
		texts += p.String() + " "
	}
	want := []Kind{KindDelay, KindFirst, KindSometimes, KindDrip, KindReset, KindReads, KindFor, KindClose}
	if !slices.Equal(kinds, want) {
		t.Errorf("%v, want %v", kinds, want)
	}
	if want := "delay:1s~2ms first:2(20%(drip:3~1/5ms+reset@1s)) 20%(drip:3~1/5ms+reset@1s) drip:3~1/5ms reset@1s " +
		"reads(for:1s(close:8)) for:1s(close:8) close:8 "; texts != want {
		t.Errorf("%s, want %s", texts, want)
	}
	for range f.All() { // may be left early
		break
	}
	if !f.Has(KindStall, KindClose) || f.Has(KindStall) || f.IsZero() || !(Fault{}).IsZero() {
		t.Error("Has or IsZero")
	}
}
