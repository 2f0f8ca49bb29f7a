//go:build !linux

package fault

import (
	"net"
	"testing"
)

func cork(testing.TB, *net.TCPConn) {}
