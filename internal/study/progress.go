package study

import (
	"time"

	"realign/internal/fault"
)

// Slack is by how many answers an item may exceed the overlap: a reservation runs out after ReserveFor and its
// place is given to somebody else, and if its annotator then answers after all, one such answer is kept.
const Slack = 1

// ReserveFor is how long a question that was asked keeps its place.
const ReserveFor = 20 * time.Minute

// Rateable is Conflict, with what to tell an annotator, unless a study takes answers.
func (s Status) Rateable() error {
	switch s {
	case Open:
		return nil
	case Paused:
		return fault.New(fault.Conflict, "the study is paused: come back later")
	case Closed:
		return fault.New(fault.Conflict, "the study is closed: it takes no more answers")
	}
	return fault.New(fault.Conflict, "the study has not begun: come back later")
}

// Count is how far an item is.
type Count struct {
	Answers int // ratings that count towards the overlap: skips do not
	Taken   int // answers and reservations that have not run out; 0 where nobody asked
}

// ItemProgress is an item with how far it is.
type ItemProgress struct {
	Item
	Count
}

// AnnotatorProgress is an annotator with what they have done.
type AnnotatorProgress struct {
	Annotator
	Answered int       // questions, catch trials among them
	Skipped  int       // questions, catch trials among them
	LastAt   time.Time // zero: nothing yet
}

// Summary counts what there is of a study.
type Summary struct {
	Prompts, Problems int // prompts, and those that are left out
	Outputs, Decoded  int // spoilt ones apart
	Items, Catches    int // questions, and catch trials apart from them
	Annotators        int // who have joined
	Answers, Skips    int // ratings, and skips apart from them
}

// Importing takes a whole study: the study itself, its prompts, its outputs, then items, annotators and assignments, each
// after what it refers to. Assignments are answered or skipped.
// It is used by one goroutine, within the store's transaction.
type Importing interface {
	Study(Study) error
	Prompt(Prompt) error
	Output(Output) error
	Item(Item) error
	Annotator(Annotator) error
	Assignment(Assignment) error
}
