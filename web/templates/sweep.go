package templates

import (
	"net/url"
	"strconv"
	"time"
)

// SweepItem is a sweep in a list, and the head of its pages.
type SweepItem struct {
	ID, Title, Pair, Aligned string
	State                    string // pending, running, paused, judging, done, cancelled, failed
	Reason                   string
	Prompts, Outputs         int
	Created, Ended           time.Time
}

func (s SweepItem) open() bool {
	return s.State == "running" || s.State == "paused" || s.State == "pending" || s.State == "judging"
}

func (s SweepItem) path(rest string) string { return "/sweeps/" + s.ID + rest }

// SweepList is "/sweeps".
type SweepList struct {
	Layout
	Sweeps []SweepItem
	Next   string // cursor of the next page, or ""
}

// SweepNew is "/sweeps/new", also with what was wrong with the form.
type SweepNew struct {
	Layout
	Pairs   []PairOption
	Rewards []RewardOption
	Values  url.Values // what the form holds
	Config  string     // what the field for a whole configuration holds
	Error   string     // what is wrong, or ""
	Field   string     // with what

	// Of a form that asks for rewards only: the study whose outputs they shall judge, or the sweep that they are added to;
	// and what that is called.
	Study, Adds, About string
}

func (v SweepNew) action() string {
	if v.Adds != "" {
		return "/sweeps/" + v.Adds + "/rewards"
	}
	return "/sweeps"
}

// RewardOption is a reward that can be chosen.
type RewardOption struct {
	Name, Title, About, Unit, Direction string
	Needs                               []string // columns
	Remote                              bool
	Parameters                          []RewardParameter
}

// RewardParameter is one field of a reward.
type RewardParameter struct {
	Name, About, Default string
}

func (v SweepNew) value(name, instead string) string {
	if v.Values == nil {
		return instead
	}
	return v.Values.Get(name)
}

func (v SweepNew) chosen(name, value string) bool {
	for _, x := range v.Values[name] {
		if x == value {
			return true
		}
	}
	return false
}

// SweepTable is "/sweeps/{id}/table": prompts × λ.
type SweepTable struct {
	Layout
	Sweep      SweepItem
	Columns    []SweepColumn // what may be shown
	Column     SweepColumn   // is shown
	Lambdas    []float64
	Rows       []SweepRow
	Total      int
	First      int // number of the first row, from 1
	Categories []string
	Query      url.Values // column, sort, reverse, q, category, gaps, page
	Number     int        // of the page, from 1
	Pages      int
}

// SweepColumn is a reward or another number of cells.
type SweepColumn struct {
	Name, Title, Unit string
}

// SweepRow is a prompt.
type SweepRow struct {
	Prompt   int
	Text     string
	Category string
	Cells    []SweepMean // by the table's λ
}

// SweepMean is the mean of a prompt's samples at one λ.
type SweepMean struct {
	Mean         float64
	Count, Cells int
}

// at is the table with one thing of its query changed, on its first page.
func (v SweepTable) at(name, value string) string {
	q := url.Values{}
	for key, list := range v.Query {
		if key != "page" {
			q[key] = list
		}
	}
	if q.Set(name, value); value == "" {
		q.Del(name)
	}
	return v.Sweep.path("/table?" + q.Encode())
}

func (v SweepTable) page(n int) string {
	return v.at("page", strconv.Itoa(n))
}

// sorted says how the table is sorted at a λ: "", ascending or descending.
func (v SweepTable) sorted(lambda string) string {
	switch {
	case v.Query.Get("sort") != lambda:
		return ""
	case v.Query.Get("reverse") != "":
		return "descending"
	}
	return "ascending"
}

// sort is the address that sorts by a λ (or by the prompts' order, ""), the other way round where it is sorted so already.
func (v SweepTable) sort(lambda string) string {
	next := v
	next.Query = url.Values{}
	for key, list := range v.Query {
		next.Query[key] = list
	}
	next.Query.Del("reverse")
	if lambda != "" && v.sorted(lambda) != "descending" || lambda == "" && v.sorted(lambda) == "ascending" {
		next.Query.Set("reverse", "1")
	}
	return next.at("sort", lambda)
}

// SweepPrompt is "/sweeps/{id}/prompts/{n}": all samples of a prompt.
type SweepPrompt struct {
	Layout
	Sweep                                        SweepItem
	Number                                       int // from 0
	Of                                           int
	Prompt, System, Context, Reference, Category string
	History                                      []Message // the conversation before the prompt
	Rewards                                      []SweepColumn
	Cells                                        []SweepCell
}

// SweepCell is one decoded sample.
type SweepCell struct {
	Lambda     float64
	Sample     int
	Text       string
	Tokens     int
	KL, LogZ   float64
	Untraced   bool // KL and LogZ are not known
	Finish     string
	Error      string
	Values     []SweepValue // by the prompt's rewards
	Playground string       // address that opens it as a run; "" while its noise is secret
}

// SweepValue is what a reward said.
type SweepValue struct {
	Value   float64
	Missing string // why there is none; "" is a value
	Asked   bool   // whether the reward was asked yet
}

// SweepPage is "/sweeps/{id}".
type SweepPage struct {
	Layout
	Live SweepLive
}

// SweepLive is the part of the page that changes while a sweep runs.
type SweepLive struct {
	Sweep   SweepItem
	CSRF    string
	Part    float64 // done, from 0 to 1
	Words   string  // how far it is
	Trouble string  // why nothing moves, or ""
	Workers []SweepWorker

	Answer   string   // the best λ in a sentence, or why there is none yet
	Facts    []Fact   // beside it
	Warnings []string // what to mind in reading it
	Curve    *Plot    // objective over λ
	Pareto   *Plot    // objective over KL
	Others   []Plot   // the same for the other rewards, small
	Table    *SweepNumbers
	Missing  []SweepGap
	Again    int       // values that endpoints failed to give and may be asked for again
	Related  []Related // studies and sweeps about the same outputs
}

// SweepWorker is a worker and how many items it has decoded.
type SweepWorker struct {
	Name  string
	Items int
}

// SweepNumbers are the numbers of the plots, by λ.
type SweepNumbers struct {
	Columns []string
	Rows    []SweepNumbersRow
}

// SweepNumbersRow is a λ.
type SweepNumbersRow struct {
	Lambda float64
	Best   bool
	Cells  []string
}

// SweepGap says why values are missing.
type SweepGap struct {
	What, Reason string
	Count        int
}

// SweepTicket is "/sweeps/{id}/ticket".
type SweepTicket struct {
	Layout
	Sweep    SweepItem
	Answer   string
	Facts    []Fact
	Warnings []string // what is to be known before the answer is believed
	Sections []TicketSection
}

// TicketSection is a part of a ticket: paragraphs, points, or lines of a file.
type TicketSection struct {
	Title string
	Items []string
	Code  string
}

// SweepCompare is "/sweeps/compare": two sweeps side by side.
type SweepCompare struct {
	Layout
	Sides    []SweepSide // the first, the second
	Facts    []Fact
	Warnings []string
	Plots    []Plot // both in one
	Tables   []CompareTable
}

// SweepSide is one of the two.
type SweepSide struct {
	Sweep  SweepItem
	Answer string
}

// CompareTable is one reward in both.
type CompareTable struct {
	Name string
	Rows []CompareRow
}

// CompareRow is what both say at one λ.
type CompareRow struct {
	Lambda                    float64
	First, Second, Difference string
	Clear                     bool // the difference is clear of 0
}
