package explain

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
)

// portRange says where the kernel takes a client's port from (ip(7),
// ip_local_port_range).
func portRange() string {
	var low, high int
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return "the kernel took a free one"
	}
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		return "the kernel took a free one"
	}
	return fmt.Sprintf("the kernel took a free one of its ephemeral range, %d to %d", low, high)
}

// timeWait looks both ends of a connection up in the kernel's table of sockets
// (proc(5), /proc/net/tcp).
func timeWait(server, client net.Addr) (serverWaits, clientWaits, known bool) {
	waiting := make(map[[2]int]bool)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(table)
		if err != nil {
			continue
		}
		known = true
		for lines := bufio.NewScanner(file); lines.Scan(); {
			addTimeWait(waiting, lines.Text())
		}
		file.Close()
	}
	return waiting[[2]int{port(server), port(client)}], waiting[[2]int{port(client), port(server)}], known
}

// addTimeWait notes the two ports of a row whose state is 06, TIME_WAIT, and whose
// address is loopback.
func addTimeWait(waiting map[[2]int]bool, row string) {
	fields := strings.Fields(row)
	const loopback4, loopback6 = "0100007F:", "00000000000000000000000001000000:"
	if len(fields) < 4 || fields[3] != "06" ||
		!strings.HasPrefix(fields[1], loopback4) && !strings.HasPrefix(fields[1], loopback6) {
		return
	}
	var ports [2]int
	for i, field := range fields[1:3] {
		_, digits, _ := strings.Cut(field, ":")
		if _, err := fmt.Sscanf(digits, "%X", &ports[i]); err != nil {
			return
		}
	}
	waiting[ports] = true
}
