package templates

import "time"

// StudyList is "/studies".
type StudyList struct {
	Layout
	Studies []StudyItem
}

// StudyItem is a study in a list.
type StudyItem struct {
	ID, Title, Status string
	Pair              string
	Prompts, Lambdas  int
	Outputs, Decoded  int
	Annotators        int
	Answers           int
	Created           time.Time
}

// StudyForm is "/studies/new", and "/studies/{id}/edit" of a draft. Its fields are as they were typed.
type StudyForm struct {
	Layout
	ID string // of the draft that is edited; "" for a new one

	// Experiment is whose outputs are rated, "" for an own one, and About the name of the sweep that they were decoded for.
	Experiment, About string

	Pairs []PairChoice

	Name, Guidelines               string
	Pair                           string // "pair/aligned"
	Mode, System                   string
	Format, Prompts                string
	Notes                          []string // of the reading of the prompts
	Grid, Samples, Seed            string
	MaxTokens, Temperature         string
	TopK, TopP, MinP, Exact        string
	Pairwise, Likert, Ranking      bool
	Points, Criteria, Ranked       string
	Comments                       bool
	Overlap, Cap                   string
	SameEvery, BrokenEvery         string
	Scheme                         string
	Error                          string
	ErrorField                     string // the name of the input at fault
	MaxPrompts, MaxGrid, MaxRanked int
}

// PairChoice is an aligned model of a pair that can be studied.
type PairChoice struct {
	Value, Name string
}

// StudyPage is "/studies/{id}".
type StudyPage struct {
	Layout
	ID, Name, Status string
	Guidelines       string // HTML, sanitised
	Pair, Aligned    string
	Beta             float64
	Grid             []float64
	Samples          int
	Sampling         Sampling
	Seed             string
	Mode, System     string
	Questions        []string // in words
	Overlap, Cap     int
	Catches          string // in words
	Scheme           string // in words
	Created, Closed  time.Time

	Prompts, Problems      int
	Outputs, Decoded       int
	Items, CatchItems      int
	Same                   int // pairs left out because both texts are the same
	Answers, Skips, Needed int // Needed: answers that complete every item
	Waits                  string
	Pace                   string // how fast it is decoded, how long it will take, and which workers do it
	ProblemList            []PromptProblem
	Related                []Related // studies and sweeps about the same answers
	Judgeable              bool      // the answers are there: rewards may judge them
	Invited                bool
	InviteURL              string // just made; it is not kept
	Annotators             []AnnotatorRow
	Rows                   []ItemRow
	Sheet, Sheets          int // of the rows, from 1
}

// Related is another study or sweep about the same outputs.
type Related struct {
	Kind, Title, State, Path string
	Agreement                string // address of the page that compares a study's people with rewards; "" for a sweep
}

// PromptProblem is a prompt that was left out.
type PromptProblem struct {
	Line   int
	Prompt string
	Words  string
}

// AnnotatorRow is an annotator's progress.
type AnnotatorRow struct {
	Name              string
	Answered, Skipped int
	Joined, Last      time.Time
}

// ItemRow is an item's progress.
type ItemRow struct {
	Prompt, Category, Asks string
	Answers, Needed        int // Needed is 0 for catch trials
}

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

func (v StudyPage) is(statuses ...string) bool {
	for _, s := range statuses {
		if v.Status == s {
			return true
		}
	}
	return false
}

func (v StudyPage) path(rest string) string { return "/studies/" + v.ID + rest }

// grid is the λ of the study, as they are read.
func (v StudyPage) grid() string {
	words := make([]string, len(v.Grid))
	for i, x := range v.Grid {
		words[i] = FormatLambda([]float64{x})
	}
	return joinDots(words)
}

func (v StudyForm) action() string {
	if v.ID == "" {
		return "/studies"
	}
	return "/studies/" + v.ID + "/edit"
}

func (v StudyForm) wrong(field string) bool { return v.Error != "" && v.ErrorField == field }
