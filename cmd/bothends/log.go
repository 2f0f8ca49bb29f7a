package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/bothends/bothends"
)

// newLogger returns a Logger for a library that writes each record in the form of every
// other message: "bothends: accept failed: too many open files (failures 3)".
func newLogger(out io.Writer) *slog.Logger { return slog.New(lineHandler{out: out}) }

// A lineHandler is the slog.Handler of newLogger. Levels and times are not shown.
type lineHandler struct {
	out    io.Writer
	attrs  []slog.Attr
	prefix string // of the names in a group
}

func (h lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = slices.Clip(h.attrs)
	for _, a := range attrs {
		h.attrs = append(h.attrs, slog.Attr{Key: h.prefix + a.Key, Value: a.Value})
	}
	return h
}

func (h lineHandler) WithGroup(name string) slog.Handler {
	h.prefix += name + "."
	return h
}

func (h lineHandler) Handle(_ context.Context, r slog.Record) error {
	line := "bothends: " + r.Message
	var details []string
	add := func(a slog.Attr) bool {
		if err, ok := a.Value.Resolve().Any().(error); ok {
			line += ": " + bothends.Reason(err)
		} else {
			details = append(details, a.Key+" "+shown(a.Value))
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		a.Key = h.prefix + a.Key
		return add(a)
	})
	if len(details) > 0 {
		line += " (" + strings.Join(details, ", ") + ")"
	}
	_, err := fmt.Fprintln(h.out, line)
	return err
}

// shown is a value as text that stays on its line.
func shown(v slog.Value) string {
	text := v.String()
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	return text
}
