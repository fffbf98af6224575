package templates

import (
	"fmt"
	"strconv"
)

// What an annotator's browser receives is this file's structs and nothing else: texts, an opaque id, and
// how many questions there were. Nothing here says where a text comes from.

// RateShell is what every page of an annotator has around its content. It is not Layout: no navigation, and
// scripts and styles of its own, so that a search of all that the browser received finds nothing about the
// models.
type RateShell struct {
	Study string // the study's title
	Theme string // as Layout has it
	Toast *Toast
}

// RateJoin asks for a display name.
type RateJoin struct {
	RateShell
	Path       string // "/rate/{token}"
	Guidelines string // HTML, sanitised
	Name       string // as it was tried
	Error      string // what was wrong with the name, or ""
}

// RateNotice is all there is to say: the study is paused, closed, or done.
type RateNotice struct {
	RateShell
	Heading, Words string
	Path           string // to look again; "" for nothing to look for
	Undo           bool   // the last answer can be taken back
	Back           string // of a preview: the study
}

// Rate is a question.
type Rate struct {
	RateShell
	Path       string // "/rate/{token}", or of a preview "/studies/{id}/preview"
	Back       string // of a preview: the study; nothing is saved
	Turn       int    // of a preview
	Guidelines string // HTML, sanitised
	Question   Question
}

// Question is what an annotator is asked.
type Question struct {
	ID       string    // of the assignment: random
	Kind     string    // "pairwise", "likert" or "ranking"
	System   string    // system prompt; "" for none
	Prompt   string    // what the answers answer
	History  []Message // the conversation before the prompt
	Answers  []string  // texts in the order shown
	Thoughts []string  // what the models thought before each; "" for nothing
	Cut      []bool    // whether each was cut off at its limit
	Criteria []string  // of a score
	Points   int       // of a score: 1 to Points
	Comments bool      // whether a comment may be left
	Number   int       // of this question, from 1
	Most     int       // how many there may be at most
	Undo     bool      // whether the last answer can be taken back
}

// answerName names an answer by its place on the page.
func answerName(i int) string { return string(rune('A' + i)) }

// asks is the question in words.
func (q Question) asks() string {
	switch q.Kind {
	case "likert":
		return "How good is the answer?"
	case "ranking":
		return "Which answer is the best, and which the worst?"
	}
	return "Which answer is better?"
}

// preview reports whether this is an owner's preview, in which nothing is saved.
func (v Rate) preview() bool { return v.Back != "" }

// method is how forms of the question are sent: in a preview they change nothing.
func (v Rate) method() string {
	if v.preview() {
		return "get"
	}
	return "post"
}

// action is where a form of the question goes to; in a preview every one leads to the next or the last question.
func (v Rate) action(name string) string {
	if v.preview() {
		return v.Path
	}
	return v.Path + "/" + name
}

// turn is the number of another question of a preview.
func (v Rate) turn(by int) string { return strconv.Itoa(v.Turn + by) }

// progress says how far the annotator is.
func (q Question) progress() string {
	return fmt.Sprintf("Question %d of at most %d", q.Number, q.Most)
}

// ends says what the ends of a scale mean, beside its points.
func (q Question) ends(point int) string {
	switch point {
	case 1:
		return "1, the worst"
	case q.Points:
		return strconv.Itoa(point) + ", the best"
	}
	return strconv.Itoa(point)
}

// SkipReasons are offered to those who cannot answer.
var SkipReasons = []string{
	"I cannot tell which is better",
	"I do not understand the prompt",
	"The answers are not in a language that I read well",
	"I would rather not read this",
}
