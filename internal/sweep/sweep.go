// Package sweep finds the alignment strength that is worth training: it decodes a set of prompts at
// several λ, lets rewards judge the texts, and says which λ is best, how surely, and what β that stands for.
// Here are the words of that, the plan of what to decode next, and the statistics; all are pure functions
// of a configuration and of what was decoded so far, so that a sweep that was interrupted anywhere goes on
// to the same plan and the same numbers. It decodes nothing, stores nothing and calls no reward.
package sweep

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Item is the unit of work: one prompt on a set of λ and of sample indexes, decoded as the lanes of one run
// with common random numbers. Its cells are all combinations of the two, at most decode.MaxLanes.
type Item struct {
	Prompt  int       `json:"prompt"` // index of the prompt
	Lambdas []float64 `json:"lambdas"`
	Samples []int     `json:"samples"`
	Stage   int       `json:"stage"` // of the plan: see Next
}

// ID names the item by what is decoded, so that one that is delivered twice is known again.
func (i Item) ID() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", i.Prompt)
	for _, l := range i.Lambdas {
		b.WriteByte('_')
		b.WriteString(strconv.FormatFloat(l, 'g', -1, 64))
	}
	for _, s := range i.Samples {
		fmt.Fprintf(&b, "-%d", s)
	}
	return b.String()
}

// Cells are the cells of the item, by λ and then by sample: the order of the lanes.
func (i Item) Cells() []Cell {
	cells := make([]Cell, 0, len(i.Lambdas)*len(i.Samples))
	for _, l := range i.Lambdas {
		for _, s := range i.Samples {
			cells = append(cells, Cell{i.Prompt, l, s})
		}
	}
	return cells
}

// Cell is the place of one decoded sample in a sweep.
type Cell struct {
	Prompt int     `json:"prompt"`
	Lambda float64 `json:"lambda"`
	Sample int     `json:"sample"`
}

// Compare orders cells by prompt, then λ, then sample.
func (c Cell) Compare(d Cell) int {
	switch {
	case c.Prompt != d.Prompt:
		return c.Prompt - d.Prompt
	case c.Lambda < d.Lambda:
		return -1
	case c.Lambda > d.Lambda:
		return 1
	}
	return c.Sample - d.Sample
}

// Output is one decoded sample and what is known of it. The log-probabilities are natural logarithms, sums
// over its tokens, end token included.
type Output struct {
	Cell
	Text   string `json:"text"`
	Tokens int    `json:"tokens"` // decoded, end token included: what the budget counts
	Finish string `json:"finish"` // decode.EndStop and its like; decode.EndError when Error says why there is no text
	Error  string `json:"error,omitempty"`

	KL            float64 `json:"kl"`             // Σ KL(π_λ ‖ π_ref), exact at every prefix
	LogZ          float64 `json:"log_z"`          // Σ log Z(λ), the local normalisers
	LogpReference float64 `json:"logp_reference"` // before temperature and truncation
	LogpAligned   float64 `json:"logp_aligned"`   // the same

	// LogQ is the log-probability of the tokens under the distribution that was sampled from, temperature
	// included, at each λ of Config.Evaluate. Nil where Config.Reweights is false.
	LogQ []float64 `json:"log_q,omitempty"`

	// Rewards by the names of Config.Rewards. A name that is not there was not judged yet.
	Rewards map[string]Value `json:"rewards,omitempty"`
}

// Failed reports whether the cell could not be decoded. It counts as missing in every estimate.
func (o *Output) Failed() bool { return o.Error != "" }

// Value is what a reward said of a text, or why it said nothing. The zero Value is the reward 0: use
// Missing for one that failed. In JSON it is a number or {"missing": reason}.
type Value struct {
	Value   float64
	Missing string  // the reason; Value means nothing then
	Cost    float64 // what asking cost, in the unit of the endpoint's prices; 0 for what costs nothing
}

// Missing is a value that is not there. The reason is what people read.
func Missing(format string, args ...any) Value {
	return Value{Missing: fmt.Sprintf(format, args...)}
}

// Of is a value, or missing where x is not a finite number.
func Of(x float64) Value {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return Missing("the reward is %v, which is not a finite number", x)
	}
	return Value{Value: x}
}

// OK reports whether the value is there.
func (v Value) OK() bool { return v.Missing == "" }

type valueJSON struct {
	Value   *float64 `json:"value,omitempty"`
	Missing string   `json:"missing,omitempty"`
	Cost    float64  `json:"cost,omitempty"`
}

// MarshalJSON writes a number where nothing else is to be said.
func (v Value) MarshalJSON() ([]byte, error) {
	if v.OK() && v.Cost == 0 {
		return strconv.AppendFloat(nil, v.Value, 'g', -1, 64), nil
	}
	w := valueJSON{Missing: v.Missing, Cost: v.Cost}
	if v.OK() {
		w.Value = &v.Value
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (v *Value) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '{' {
		*v = Value{}
		return json.Unmarshal(b, &v.Value)
	}
	var w valueJSON
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*v = Value{Missing: w.Missing, Cost: w.Cost}
	switch {
	case w.Value != nil:
		v.Value = *w.Value
	case w.Missing == "":
		v.Missing = "no reason is known"
	}
	return nil
}

// Direction says which values of a reward are better.
type Direction string

const (
	Higher Direction = "higher"
	Lower  Direction = "lower"
)

// State is how far a sweep or an item is.
type State string

// An item is pending until all of its cells have outputs. Paused and cancelled sweeps keep what they have;
// failed is a sweep that could not be started.
const (
	Pending   State = "pending"
	Running   State = "running"
	Paused    State = "paused"
	Done      State = "done"
	Cancelled State = "cancelled"
	Failed    State = "failed"
)

// Ended reports whether nothing more will happen.
func (s State) Ended() bool { return s == Done || s == Cancelled || s == Failed }

// Can reports whether a sweep in state s may go to state t.
func (s State) Can(t State) bool {
	return slices.Contains(map[State][]State{
		Pending: {Running, Paused, Cancelled, Failed},
		Running: {Paused, Done, Cancelled, Failed},
		Paused:  {Running, Cancelled},
	}[s], t)
}
