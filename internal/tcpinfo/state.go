package tcpinfo

// The states have the names of Linux's netstat on every system, whatever its own
// netstat writes (SYN_RCVD, FIN_WAIT_1): one name for one state.

// LinuxState names a state of linux/tcp_states.h.
func LinuxState(state uint8) string {
	return name(state, "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",
		"TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV")
}

// bsdState names a state of netinet/tcp_fsm.h, which FreeBSD and macOS share.
func bsdState(state uint8) string {
	return name(state, "CLOSE", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT",
		"FIN_WAIT1", "CLOSING", "LAST_ACK", "FIN_WAIT2", "TIME_WAIT")
}

// windowsState names a TCPSTATE of mstcpip.h.
func windowsState(state uint8) string {
	return name(state, "CLOSE", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT1",
		"FIN_WAIT2", "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT")
}

func name(state uint8, names ...string) string {
	if int(state) < len(names) {
		return names[state]
	}
	return "UNKNOWN"
}
