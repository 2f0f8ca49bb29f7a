package transcript

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// A rung is one step of an exchange in its ladder, as one end saw it.
type rung struct {
	at    time.Time
	way   way
	label string
}

type way uint8

const (
	note way = iota // something at this end alone
	away            // from this end to the peer
	back            // from the peer to this end
)

// mostRungs bounds the ladder of a connection that has many exchanges.
const mostRungs = 100

func (c *climb) rung(at time.Time, w way, label string) {
	if len(c.rungs) == mostRungs {
		c.more++
		return
	}
	c.rungs = append(c.rungs, rung{at, w, label})
}

// inside is the columns between the two ends.
const inside = 44

// ladder draws the client on the left and the server on the right. The times are
// this end's: when it handed something to its kernel, or had something from it.
func (c *climb) ladder(out *bytes.Buffer) {
	left, right := c.local, c.peer
	if c.role == "server" {
		left, right = right, left
	}
	margin := strings.Repeat(" ", len(at(0))+1)
	bar := "│"
	if c.ASCII {
		bar = "|"
	}
	fmt.Fprintf(out, "\n%sclient%*s\n", margin, inside-len("client")+2, "server")
	if gap := inside + 2 - len(SocketName(left)) - len(SocketName(right)); gap > 0 {
		fmt.Fprintf(out, "%s%s%s%s\n", margin, SocketName(left), strings.Repeat(" ", gap), SocketName(right))
	} else {
		fmt.Fprintf(out, "%s%s\n%s%*s\n", margin, SocketName(left), margin, inside+2, SocketName(right))
	}
	for _, r := range c.rungs {
		fmt.Fprintf(out, "%s %s%s%s\n", at(r.at.Sub(c.start)), bar, c.between(r), bar)
	}
	if c.more > 0 {
		fmt.Fprintf(out, "%sand %d more\n", margin, c.more)
	}
}

// between is what stands between the two ends in one rung.
func (c *climb) between(r rung) string {
	toRight := (r.way == away) == (c.role == "client")
	if r.way == note {
		space := strings.Repeat(" ", max(0, inside-2-utf8.RuneCountInString(r.label)))
		if c.role == "server" {
			return space + r.label + "  "
		}
		return "  " + r.label + space
	}
	line, tipLeft, tipRight := "─", "◀", "▶"
	if c.ASCII {
		line, tipLeft, tipRight = "-", "<", ">"
	}
	shaft := strings.Repeat(line, 3) + " " + r.label + " "
	rest := strings.Repeat(line, max(0, inside-1-utf8.RuneCountInString(shaft)))
	if toRight {
		return shaft + rest + tipRight
	}
	return tipLeft + rest + " " + r.label + " " + strings.Repeat(line, 3)
}
