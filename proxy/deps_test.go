package proxy_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A program that imports the package compiles neither a YAML parser nor an HTTP client.
func TestImportersCompileNeitherYAMLNorHTTP(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/bothends/bothends/proxy").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		if path = strings.TrimSpace(path); path == "net/http" || strings.Contains(path, "yaml") {
			t.Errorf("it imports %s", path)
		}
	}
}
