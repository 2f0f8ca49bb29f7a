// Package need skips tests that want a program this machine does not have. Where
// BOTHENDS_TEST_ALL is set, as in CI, they fail instead: there everything is
// installed, and a skipped test is a hole.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Program returns the path of a program, or skips the test. The package is
// Debian's, for the message.
func Program(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, name+" (Debian's package "+debianPackage+")")
	}
	return path
}

// Skip skips the test, naming what it needs.
func Skip(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("BOTHENDS_TEST_ALL") != "" {
		t.Fatalf("needs %s, and BOTHENDS_TEST_ALL is set", what)
	}
	t.Skipf("needs %s", what)
}
