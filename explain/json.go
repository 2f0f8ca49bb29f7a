package explain

import (
	"encoding/json"
	"io"
	"time"
)

// Schema names the form of a lesson as JSON.
const Schema = "bothends.lesson/v1"

// JSON writes a lesson and its steps as one line. failed is the error of Run.
func (l Lesson) JSON(w io.Writer, began time.Time, steps []Step, failed error) error {
	type event struct {
		At     float64 `json:"at"` // seconds since the lesson began
		End    string  `json:"end"`
		Line   string  `json:"line"`
		Block  string  `json:"block,omitempty"`
		Why    string  `json:"why,omitempty"`
		Unlike string  `json:"unlike,omitempty"`
	}
	told := struct {
		Schema   string    `json:"schema"`
		Lesson   string    `json:"lesson"`
		Title    string    `json:"title"`
		Time     time.Time `json:"time"`
		Events   []event   `json:"events"`
		Remember string    `json:"remember"`
		Function string    `json:"function"`
		Error    string    `json:"error,omitempty"`
	}{Schema: Schema, Lesson: l.Name, Title: l.Title, Time: began, Events: []event{}, Remember: l.Remember, Function: l.Function}
	for _, s := range steps {
		told.Events = append(told.Events, event{s.At.Seconds(), s.End, s.Line, s.Block, s.Why, s.Unlike})
	}
	if failed != nil {
		told.Error = failed.Error()
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(told)
}
