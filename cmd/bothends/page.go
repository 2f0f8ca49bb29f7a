package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/bothends/bothends/docs"
	"github.com/bothends/bothends/transcript"
)

// helpPages are the pages of docs that help prints.
func helpPages() []string {
	pages := []string{"faults", "load-record", "proxy-api", "schema"}
	for _, name := range docs.Schemas() {
		pages = append(pages, name+"-schema")
	}
	return pages
}

// isMarkdown reports whether a page of help is Markdown. The others are for programs.
func isMarkdown(page string) bool { return page != "proxy-api" && !strings.HasSuffix(page, "-schema") }

// A pageWriter turns Markdown, as it is used in docs, into text: paragraphs, lists,
// tables and code.
type pageWriter struct {
	strings.Builder
	width     int
	paragraph []string
	table     [][]string
}

// pageText returns a page in lines of up to width columns.
func pageText(markdown string, width int) string {
	p := &pageWriter{width: width}
	fenced := false
	for line := range strings.SplitSeq(strings.TrimSuffix(markdown, "\n"), "\n") {
		fence := strings.HasPrefix(line, "```")
		fenced = fenced != fence
		switch {
		case fence:
			p.flush()
		case fenced:
			p.code("    " + line)
		case strings.HasPrefix(line, "    ") && len(p.paragraph) == 0:
			p.code(line)
		case strings.HasPrefix(line, "|"):
			p.row(line)
		case line == "":
			p.flush()
			p.WriteByte('\n')
		case strings.HasPrefix(line, "#"):
			p.WriteString(plain(strings.TrimLeft(line, "# ")) + "\n")
		default:
			if strings.HasPrefix(line, "- ") {
				p.flush()
			}
			p.paragraph = append(p.paragraph, strings.TrimSpace(line))
		}
	}
	p.flush()
	return p.String()
}

func (p *pageWriter) code(line string) {
	p.flush()
	p.WriteString(transcript.Fold(strings.TrimRight(line, " ")+"\n", p.width))
}

// row keeps a line of a table until the table ends.
func (p *pageWriter) row(line string) {
	if strings.Trim(line, "|-: ") == "" {
		return // the line between the head and the rows
	}
	var cells []string
	for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
		cells = append(cells, plain(strings.TrimSpace(cell)))
	}
	p.table = append(p.table, cells)
}

// flush writes the paragraph or the table that has ended.
func (p *pageWriter) flush() {
	text := plain(strings.Join(p.paragraph, " "))
	indent := 0
	if strings.HasPrefix(text, "- ") {
		indent = 2
	}
	if text != "" {
		p.WriteString(transcript.FoldLine(text, p.width, indent) + "\n")
	}
	first := 0
	for _, cells := range p.table {
		first = max(first, utf8.RuneCountInString(cells[0]))
	}
	for _, cells := range p.table {
		line := fmt.Sprintf("  %-*s  %s", first, cells[0], strings.Join(cells[1:], "  "))
		p.WriteString(transcript.FoldLine(strings.TrimRight(line, " "), p.width, first+4) + "\n")
	}
	p.paragraph, p.table = nil, nil
}

var (
	markdownLink = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	emphasis     = regexp.MustCompile(`(^|\s)\*{1,2}([^\s*][^*]*)\*{1,2}`)
)

// plain returns text without the marks for links, emphasis and code.
func plain(text string) string {
	var b strings.Builder
	for n, part := range strings.Split(markdownLink.ReplaceAllString(text, "$1"), "`") {
		if n%2 == 0 { // not code
			part = emphasis.ReplaceAllString(part, "$1$2")
		}
		b.WriteString(part)
	}
	return b.String()
}
