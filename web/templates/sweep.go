package templates

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// SweepItem is a sweep in a list, and the head of its pages.
type SweepItem struct {
	ID, Title, Pair, Aligned string
	Mix                      string // "weights", or "" for the logits
	Other                    string // what λ could mix instead: "weights", "logits", or "" where there is no other
	State                    string // pending, running, paused, judging, done, cancelled, failed
	Reason                   string // why it failed or was paused, or ""
	Prompts, Outputs         int
	Created, Ended           time.Time // Ended: zero while it has not
}

// open reports whether the sweep has not ended.
func (s SweepItem) open() bool {
	return s.State == "running" || s.State == "paused" || s.State == "pending" || s.State == "judging"
}

// path is an address below the sweep's page.
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
	Fields  []Bound    // ranges of its numbers
	Config  string     // what the field for a whole configuration holds
	Errors  []FormError

	// Of a form that asks for rewards only: the study whose outputs they shall judge, or the sweep that they are added to;
	// and what that is called.
	Study, Adds, About string
}

// action is where the form goes to.
func (v SweepNew) action() string {
	if v.Adds != "" {
		return "/sweeps/" + v.Adds + "/rewards"
	}
	return "/sweeps"
}

// modelName is an aligned model among those of all pairs, so that two can be told apart.
func modelName(p PairOption, a AlignedModel) string {
	name := or(p.Title, p.Name) + " · " + or(a.Title, a.Name)
	if a.Beta > 0 && !strings.Contains(a.Title, "β") {
		name += " (β " + plain(a.Beta) + ")"
	}
	return name
}

// paces are how fast the pairs were decoded last, as JSON for the controller.
func (v SweepNew) paces() string {
	known := map[string]float64{}
	for _, p := range v.Pairs {
		if p.Pace > 0 {
			known[p.Name] = p.Pace
		}
	}
	return jsonText(known)
}

// RewardOption is a reward that can be chosen.
type RewardOption struct {
	Name, Title, About, Unit, Direction string
	Needs                               []string // columns that prompts must have
	Remote                              bool     // it asks an endpoint
	Parameters                          []RewardParameter
}

// RewardParameter is one field of a reward.
type RewardParameter struct {
	Name, About, Default string
}

// value is what a field holds; instead stands in one that the form says nothing of.
func (v SweepNew) value(name, instead string) string {
	if !v.Values.Has(name) {
		return instead
	}
	return v.Values.Get(name)
}

// numeric are the attributes of a field for a number: its range, or, where it has none, that it may be typed as 1/6 is.
func (v SweepNew) numeric(name string) templ.Attributes {
	for _, b := range v.Fields {
		if b.Field == name {
			a := bounds(v.Fields, name)
			a["type"] = "number"
			return a
		}
	}
	return templ.Attributes{"type": "text", "inputmode": "decimal"}
}

// chosen reports whether a box of the form is ticked.
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
	Column     SweepColumn   // the one that is shown
	Lambdas    []float64
	Rows       []SweepRow
	Total      int // prompts that match the query
	First      int // number of the first row, from 1
	Categories []string
	Query      url.Values // column, sort, reverse, q, category, gaps, page
	Number     int        // of the page, from 1
	Pages      int
	Texts      bool    // cells have the text of their first sample, and a colour by their mean
	Low, High  float64 // least and greatest mean on the page
}

// shade is the step of the colour of a cell, 0 to 8, from the least mean on the page to the greatest.
func (v SweepTable) shade(m SweepMean) int {
	if v.High <= v.Low {
		return 4
	}
	return int(8*(m.Mean-v.Low)/(v.High-v.Low) + 0.5)
}

// SweepColumn is a reward or another number of cells.
type SweepColumn struct {
	Name, Title, Unit string
}

// SweepRow is a prompt.
type SweepRow struct {
	Prompt   int // its number, from 0
	Text     string
	Category string
	Cells    []SweepMean // by the table's λ
}

// SweepMean is the mean of a prompt's samples at one λ.
type SweepMean struct {
	Mean         float64 // over the samples that have a value
	Count, Cells int     // samples with a value; Cells: all that were decoded
	Text         string  // of the first sample, where texts are shown
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

// page is the address of another page of the table.
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
	Of                                           int // how many prompts there are
	Most                                         int // tokens that a sample may have
	Prompt, System, Context, Reference, Category string
	History                                      []Message // the conversation before the prompt
	Rewards                                      []SweepColumn
	Cells                                        []SweepCell // by λ, then by sample
}

// SweepCell is one decoded sample.
type SweepCell struct {
	Lambda     float64
	Sample     int
	Text       string
	Tokens     int
	KL, LogZ   float64      // KL to the reference and Σ log Z over its tokens, nats
	Untraced   bool         // KL and LogZ are not known
	Finish     string       // why it ended: one of decode.End…
	Error      string       // why it was not decoded, or ""
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
	SweepCharts
	Missing []SweepGap
	Again   int       // values that endpoints failed to give and may be asked for again
	Related []Related // studies and sweeps about the same outputs
}

// SweepWorker is a worker and how many items it has decoded.
type SweepWorker struct {
	Name  string
	Items int
}

// SweepNumbers are the numbers of the plots, by λ.
type SweepNumbers struct {
	Columns []string
	Rows    []SweepNumbersRow // by λ, ascending; cells are in the order of Columns
}

// SweepNumbersRow is a λ.
type SweepNumbersRow struct {
	Lambda float64
	Best   bool // the decoded λ nearest to the best one
	Cells  []string
}

// SweepGap says why values are missing.
type SweepGap struct {
	What, Reason string
	Count        int // samples
}

// SweepTicket is "/sweeps/{id}/ticket".
type SweepTicket struct {
	Layout
	CanShare bool   // whether there is anything to share yet
	ShareURL string // of a link that was made just now
	Sweep    SweepItem
	Answer   string
	Facts    []Fact
	Warnings []string // what is to be known before the answer is believed
	Sections []TicketSection
}

// SweepCharts are the drawings of a sweep's report, and its numbers.
type SweepCharts struct {
	Curve  *Plot  // objective over λ
	Pareto *Plot  // objective over KL
	Others []Plot // the same for the other rewards, small
	Table  *SweepNumbers
}

// SharedSweep is "/w/{token}": a sweep and its ticket, for anybody with the link.
type SharedSweep struct {
	Layout
	Name     string
	At       time.Time // when it was frozen
	Sweep    SweepItem
	Answer   string
	Facts    []Fact
	Warnings []string
	Sections []TicketSection
	Charts   SweepCharts
}

// TicketSection is a part of a ticket: paragraphs, points, or lines of a file.
type TicketSection struct {
	Title string
	Items []string
	Code  string // a part of a file instead of Items
}

// SweepCompare is "/sweeps/compare": two sweeps side by side.
type SweepCompare struct {
	Layout
	Sides    []SweepSide // the first, the second
	Facts    []Fact
	Warnings []string
	Texts    []TextsRow     // where they differ in what λ mixes
	Plots    []Plot         // both in one
	Tables   []CompareTable // by reward
}

// TextsRow is how far the texts of two sweeps part at a λ.
type TextsRow struct {
	Lambda        float64
	Texts         int    // pairs that were compared
	Equal, Common string // Equal: share of equal texts; Common: of words before the first that differs; with their intervals
}

// SweepSide is one of the two.
type SweepSide struct {
	Sweep  SweepItem
	Answer string // the best λ in a sentence
}

// CompareTable is one reward in both.
type CompareTable struct {
	Name string
	Rows []CompareRow
}

// CompareRow is what both say at one λ.
type CompareRow struct {
	Lambda                    float64
	First, Second, Difference string // with their intervals
	Clear                     bool   // the difference is clear of 0
}
