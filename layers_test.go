package bothends_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The picture in ARCHITECTURE.md: who may import whom, besides the standard
// library. "bothends" alone is the root package.
const layers = `
cmd/bothends       -> explain transcript bothends internal/errno  cobra cobra/doc pflag x/term
explain            -> transcript bothends internal/errno
transcript         -> bothends
bothends           -> internal/errno
internal/errno     ->
internal/memnet    ->
internal/need      ->
`

var modules = map[string]string{
	"github.com/spf13/cobra":     "cobra",
	"github.com/spf13/cobra/doc": "cobra/doc",
	"github.com/spf13/pflag":     "pflag",
	"golang.org/x/term":          "x/term",
}

func TestLayers(t *testing.T) {
	allowed := make(map[string][]string)
	for line := range strings.Lines(strings.TrimSpace(layers)) {
		from, to, _ := strings.Cut(line, "->")
		allowed[strings.TrimSpace(from)] = strings.Fields(to)
	}
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		room := short(p.ImportPath)
		seen[room] = true
		if _, ok := allowed[room]; !ok {
			t.Errorf("%s is not in the picture", room)
		}
		for _, i := range p.Imports {
			if name := short(i); strings.Contains(i, ".") && !slices.Contains(allowed[room], name) {
				t.Errorf("%s imports %s, which the picture does not have", room, i)
			}
		}
	}
	for room := range allowed {
		if !seen[room] {
			t.Errorf("%s is in the picture, and there is no such package", room)
		}
	}
}

func short(path string) string {
	if name, ok := modules[path]; ok {
		return name
	}
	return strings.TrimPrefix(strings.TrimPrefix(path, "github.com/bothends/bothends/"), "github.com/bothends/")
}

func TestArchitectureHasThePicture(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), strings.TrimSpace(layers)) {
		t.Error("ARCHITECTURE.md does not have the text of layers")
	}
}
