package explain

import (
	"encoding/json"
	"io"
	"time"
)

// Schema is the name of the JSON schema of a lesson.
const Schema = "bothends.lesson/v1"

// JSON writes a lesson and its steps as one line of JSON. failed is the error of Run.
func (l Lesson) JSON(w io.Writer, began time.Time, steps []Step, failed error) error {
	type step struct {
		At     float64 `json:"at"`    // seconds since the start of the lesson
		Actor  string  `json:"actor"` // client, server or kernel
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
		Steps    []step    `json:"steps"`
		Remember string    `json:"remember"`
		Function string    `json:"function"`
		Error    string    `json:"error,omitempty"`
	}{Schema: Schema, Lesson: l.Name, Title: l.Title, Time: began, Steps: []step{}, Remember: l.Remember, Function: l.Function}
	for _, s := range steps {
		told.Steps = append(told.Steps, step{s.At.Seconds(), s.End, s.Line, s.Block, s.Why, s.Unlike})
	}
	if failed != nil {
		told.Error = failed.Error()
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(told)
}
