package transcript

import (
	"fmt"
	"strings"

	"github.com/bothends/bothends"
)

// Connections returns the connections by outcome: "3 connections: 1 ok, 1 short, 1 open".
func Connections(s bothends.Stats) string {
	parts := outcomes(&s.Ended)
	if s.Open > 0 {
		parts = append(parts, fmt.Sprintf("%d open", s.Open))
	}
	return sum(s.Accepted, "connection", parts)
}

// Exchanges returns the exchanges by outcome: "5 exchanges: 4 ok, 1 short".
func Exchanges(s bothends.Stats) string {
	return sum(s.Exchanges.Sum(), "exchange", outcomes(&s.Exchanges))
}

func outcomes(counts *bothends.Counts) (parts []string) {
	for outcome, n := range counts.All() {
		parts = append(parts, fmt.Sprintf("%d %v", n, outcome))
	}
	return parts
}

func sum(n int64, what string, parts []string) string {
	line := plural(n, what)
	if len(parts) > 0 {
		line += ": " + strings.Join(parts, ", ")
	}
	return line
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
