package transcript

import (
	"cmp"
	"regexp"
	"strings"
	"unicode/utf8"
)

// timed matches the time at the start of a step.
var timed = regexp.MustCompile(`^ *[0-9]+\.[0-9]+ ms `)

// Fold returns text with each line that is wider than width columns broken at spaces.
// The rest of a line is indented by two columns more than its text. A word that is
// wider than the space for it is not broken. If width is 0, Fold returns text unchanged.
func Fold(text string, width int) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		body := strings.TrimSuffix(line, "\n")
		indent := len(body) - len(strings.TrimLeft(body, " ")) + 2
		if time := timed.FindString(body); time != "" {
			indent = len(time) + 2
		}
		b.WriteString(FoldLine(body, width, indent) + line[len(body):])
	}
	return b.String()
}

// FoldLine is Fold for one line, with a given indentation of its rest.
func FoldLine(line string, width, indent int) string {
	if columns(line) <= width {
		return line
	}
	lead := cmp.Or(len(timed.FindString(line)), len(line)-len(strings.TrimLeft(line, " ")))
	folded, used := line[:lead], lead
	for n, w := range wordsOf(line[lead:]) {
		switch {
		case n == 0 && used <= indent, used+columns(w.gap+w.text) <= width:
			folded += w.gap + w.text
			used += columns(w.gap + w.text)
		default:
			folded = strings.TrimRight(folded, " ") + "\n" + strings.Repeat(" ", indent) + w.text
			used = indent + columns(w.text)
		}
	}
	return folded
}

// A word is a part of a line that is not broken, with the spaces before it.
type word struct{ gap, text string }

var wordPattern = regexp.MustCompile(`( *)([^ ]+)`)

// wordsOf returns the words of a line. A socket name, such as ('127.0.0.1', 1060), is
// one word, and so is a number with its unit, such as 0.004 ms or 85 %.
func wordsOf(line string) (words []word) {
	for _, match := range wordPattern.FindAllStringSubmatch(line, -1) {
		next := word{match[1], match[2]}
		if n := len(words); n > 0 && belongs(words[n-1].text, next.text) {
			words[n-1].text += next.gap + next.text
			continue
		}
		words = append(words, next)
	}
	return words
}

// belongs reports whether next must stay on the line of word.
func belongs(word, next string) bool {
	name := strings.Contains(word, "('") && strings.HasSuffix(word, "',")
	last := word[len(word)-1]
	return name || unit.MatchString(next) && '0' <= last && last <= '9'
}

// unit matches a unit, with punctuation after it.
var unit = regexp.MustCompile(`^(ms|s|%)\pP*$`)

// color matches what changes the color of a terminal (SGR).
var color = regexp.MustCompile("\x1b\\[[0-9;]*m")

// columns returns the number of columns that s takes on a terminal.
func columns(s string) int { return utf8.RuneCountInString(color.ReplaceAllString(s, "")) }
