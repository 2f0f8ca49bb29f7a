package fault_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/bothends/bothends/fault"
)

// What docs/faults.md shows is in the language, and all of the language is there.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := ""
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(string(text), -1) {
		spec := strings.ReplaceAll(row[1], "…", "reset")
		f, err := fault.Parse(spec)
		if err != nil || f.String() == "" {
			t.Errorf("%s: %v", spec, err)
		}
		shown += spec + "\n"
	}
	_, err = fault.Parse("nonsense") // its error lists what there is
	for _, name := range regexp.MustCompile(`[a-z%]+`).FindAllString(err.Error()[strings.Index(err.Error(), "there are"):], -1) {
		if name == "there" || name == "are" || name == "and" {
			continue
		}
		if !strings.Contains(shown, name) {
			t.Errorf("docs/faults.md does not show %s", name)
		}
	}
}
