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

// layers is the block in ARCHITECTURE.md: which package may import which, without the
// standard library. "bothends" alone is the root package.
const layers = `
cmd/bothends       -> check docs explain fault load load/exchange proxy proxy/admin report transcript bothends internal/adminhttp internal/capture internal/errno internal/procgroup  cobra cobra/doc pflag x/term
check              -> fault bothends internal/errno internal/procgroup internal/tcpinfo
docs               ->
explain            -> transcript bothends internal/errno internal/socktable internal/tcpinfo
transcript         -> bothends internal/tcpinfo
load               -> x/sys/unix
load/exchange      -> fault load bothends internal/errno internal/tcpinfo
report             -> load
bothends           -> internal/errno internal/serve internal/tcpconn
proxy              -> fault internal/errno internal/serve internal/tcpinfo  x/sys/unix
proxy/admin        -> proxy internal/adminhttp internal/errno  yaml
fault              -> memnet internal/tcpconn internal/tcpinfo x/sys/unix
internal/adminhttp ->
internal/capture   -> gopacket gopacket/layers gopacket/pcapgo x/net/bpf x/sys/unix
internal/errno     ->
memnet             ->
internal/need      ->
internal/procgroup -> x/sys/unix
internal/proxytest -> internal/errno
internal/serve     -> internal/errno
internal/socktable -> internal/tcpinfo x/sys/unix
internal/tcpconn   ->
internal/tcpinfo   -> internal/tcpconn x/sys/unix
`

var modules = map[string]string{
	"github.com/gopacket/gopacket":        "gopacket",
	"github.com/gopacket/gopacket/layers": "gopacket/layers",
	"github.com/gopacket/gopacket/pcapgo": "gopacket/pcapgo",
	"github.com/spf13/cobra":              "cobra",
	"github.com/spf13/cobra/doc":          "cobra/doc",
	"github.com/spf13/pflag":              "pflag",
	"golang.org/x/net/bpf":                "x/net/bpf",
	"golang.org/x/sys/unix":               "x/sys/unix",
	"golang.org/x/term":                   "x/term",
	"go.yaml.in/yaml/v4":                  "yaml",
}

func TestLayers(t *testing.T) {
	allowed := make(map[string][]string)
	for line := range strings.Lines(strings.TrimSpace(layers)) {
		from, to, _ := strings.Cut(line, "->")
		allowed[strings.TrimSpace(from)] = strings.Fields(to)
	}
	used := make(map[string]bool)
	for _, system := range []string{"linux", "darwin", "windows"} {
		checkImports(t, system, allowed, used)
	}
	for room, imports := range allowed {
		if !used[room] {
			t.Errorf("%s is in the picture, and there is no such package", room)
		}
		for _, i := range imports {
			if !used[room+" "+i] {
				t.Errorf("the picture has an arrow from %s to %s, and nothing goes that way", room, i)
			}
		}
	}
}

// checkImports compares the imports on a system with layers. It adds the packages and
// imports that it finds to used.
func checkImports(t *testing.T, system string, allowed map[string][]string, used map[string]bool) {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
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
		used[room] = true
		if _, ok := allowed[room]; !ok {
			t.Errorf("%s is not in the picture", room)
		}
		for _, i := range p.Imports {
			name := short(i)
			used[room+" "+name] = true
			if strings.Contains(i, ".") && !slices.Contains(allowed[room], name) {
				t.Errorf("on %s, %s imports %s, which the picture does not have", system, room, i)
			}
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
