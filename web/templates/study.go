package templates

import (
	"net/url"
	"slices"
	"time"
)

// StudyList is "/studies".
type StudyList struct {
	Layout
	Studies     []StudyItem
	ImportError string // what is wrong with a file that was to be imported
}

// StudyItem is a study in a list.
type StudyItem struct {
	ID, Title, Status string
	Pair              string
	Prompts, Lambdas  int
	Outputs, Decoded  int // Outputs: to be decoded; Decoded: of them
	Annotators        int
	Answers           int // of all annotators
	Created           time.Time
}

// StudyForm is "/studies/new", and "/studies/{id}/edit" of a draft. Its fields are as they were typed.
type StudyForm struct {
	Layout
	ID string // of the draft that is edited; "" for a new one

	// Experiment is whose outputs are rated, "" for an own one, and About the name of the sweep that they were decoded for.
	Experiment, About string

	Pairs []PairChoice // to choose from

	Values url.Values // what the form holds, by the names of its fields
	Notes  []string   // of the reading of the prompts
	Fields []Bound    // ranges of its numbers

	Errors                         []FormError // all that is wrong
	MaxPrompts, MaxGrid, MaxRanked int         // limits of the setup
}

// PairChoice is an aligned model of a pair that can be studied.
type PairChoice struct {
	Value, Name string // of the form's field; Name: as shown
}

// StudyPage is "/studies/{id}".
type StudyPage struct {
	Layout
	ID, Name, Status string // Name: its title; Status: as study.Status has it
	Cost             string // what decoding a draft's answers takes
	Guidelines       string // HTML, sanitised
	Pair, Aligned    string
	Beta             float64   // of the aligned model's training; 0 is unknown
	Grid             []float64 // λ, ascending
	Samples          int       // of each prompt at each λ
	Sampling         Sampling
	Seed             string // in decimal
	Mode, System     string
	Questions        []string // in words
	Overlap, Cap     int      // answers wanted for each item; Cap: of one annotator at most, 0 is no limit
	Catches          string   // in words
	Scheme           string   // in words
	Created, Closed  time.Time

	Prompts, Problems      int    // Problems: prompts that were left out
	Outputs, Decoded       int    // Decoded: how many are there
	Items, CatchItems      int    // CatchItems: catch trials
	Same                   int    // pairs left out because both texts are the same
	Answers, Skips, Needed int    // Needed: answers that complete every item
	Waits                  string // why decoding does not go on, or ""
	Pace                   string // how fast it is decoded, how long it will take, and which workers do it
	ProblemList            []PromptProblem
	Related                []Related // studies and sweeps about the same answers
	Judgeable              bool      // the answers are there: rewards may judge them
	Invited                bool      // there is a link by which annotators join
	InviteURL              string    // just made; it is not kept
	Annotators             []AnnotatorRow
	Rows                   []ItemRow // items on this page of them
	Sheet, Sheets          int       // of the rows, from 1
}

// Related is another study or sweep about the same outputs.
type Related struct {
	Kind, Title, State, Path string
	Agreement                string // address of the page that compares a study's people with rewards; "" for a sweep
}

// PromptProblem is a prompt that was left out.
type PromptProblem struct {
	Line   int // in what was read, from 1; Prompt: its beginning; Words: why
	Prompt string
	Words  string
}

// AnnotatorRow is an annotator's progress.
type AnnotatorRow struct {
	Name              string
	Answered, Skipped int
	Joined, Last      time.Time // Last: of their last answer; zero: none
}

// ItemRow is an item's progress.
type ItemRow struct {
	Prompt, Category, Asks string // its beginning; Asks: what it is about
	Answers, Needed        int    // Needed is 0 for catch trials
}

// statusWords is a study's status as people read it.
func statusWords(status string) string {
	switch status {
	case "draft":
		return "draft"
	case "decoding":
		return "decoding answers"
	case "halted":
		return "decoding paused"
	case "ready":
		return "ready to open"
	case "open":
		return "open"
	case "paused":
		return "paused"
	case "closed":
		return "closed"
	}
	return status
}

// is reports whether the study has one of some statuses.
func (v StudyPage) is(statuses ...string) bool {
	for _, s := range statuses {
		if v.Status == s {
			return true
		}
	}
	return false
}

// path is an address below the study's page.
func (v StudyPage) path(rest string) string { return "/studies/" + v.ID + rest }

// grid is the λ of the study, as they are read.
func (v StudyPage) grid() string {
	words := make([]string, len(v.Grid))
	for i, x := range v.Grid {
		words[i] = FormatLambda([]float64{x})
	}
	return joinDots(words)
}

// action is where the form goes to.
func (v StudyForm) action() string {
	if v.ID == "" {
		return "/studies"
	}
	return "/studies/" + v.ID + "/edit"
}

// hasAligned reports whether the aligned model itself is among the λ.
func (v StudyPage) hasAligned() bool { return slices.Contains(v.Grid, 1) }
