package tcpinfo

// LinuxState names a state of linux/tcp_states.h as netstat does.
func LinuxState(state uint8) string {
	return name(state, "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",
		"TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV")
}

func name(state uint8, names ...string) string {
	if int(state) < len(names) {
		return names[state]
	}
	return "UNKNOWN"
}
