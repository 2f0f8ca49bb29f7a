package main

import (
	"strings"
	"syscall"
	"testing"
)

// Keys mean what they mean elsewhere in a terminal.
func TestKeys(t *testing.T) {
	for key, want := range map[byte]error{
		' ': nil, 'q': errQuit, 'Q': errQuit, ctrlD: errQuit, ctrlBackslash: errQuit, ctrlC: stoppedBy{syscall.SIGINT},
	} {
		keys := make(chan byte, 1)
		keys <- key
		p := &pacer{step: true, in: strings.NewReader(""), keys: keys}
		if err := p.wait(t.Context()); err != want {
			t.Errorf("%q: %v, want %v", key, err, want)
		}
	}
}
