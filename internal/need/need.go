// Package need skips tests that need a program that this machine does not have. If
// BOTHENDS_TEST_ALL is set, as in CI, they fail instead, because there everything is
// installed.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Program returns the path of a program, or skips the test. debianPackage is named in
// the message.
func Program(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, name+" (Debian's package "+debianPackage+")")
	}
	return path
}

// Skip skips the test. The message contains what it needs.
func Skip(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("BOTHENDS_TEST_ALL") != "" {
		t.Fatalf("needs %s, and BOTHENDS_TEST_ALL is set", what)
	}
	t.Skipf("needs %s", what)
}
