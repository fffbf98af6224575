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

	"realign/internal/decode"
	"realign/internal/experiment"
)

// Cell and Item are the experiment's: a sweep adds rewards to them.
type (
	Cell = experiment.Cell
	Item = experiment.Item
)

// Output is one decoded sample and what is known of it. The log-probabilities are natural logarithms, sums
// over its tokens, end token included.
type Output struct {
	Cell
	Text   string `json:"text"`
	Tokens int    `json:"tokens"`          // decoded, end token included: what the budget counts
	Finish string `json:"finish"`          // decode.EndStop and its like; decode.EndError when Error says why there is no text
	Error  string `json:"error,omitempty"` // why it could not be decoded; "" where it was

	KL            float64 `json:"kl"`             // Σ KL(π_λ ‖ π_ref), exact at every prefix
	LogZ          float64 `json:"log_z"`          // Σ log Z(λ), the local normalisers
	LogpReference float64 `json:"logp_reference"` // under the reference, before temperature and truncation
	LogpAligned   float64 `json:"logp_aligned"`   // the same, under the aligned model

	// Untraced says that of the log-probabilities nothing was kept: KL to LogQ mean nothing then.
	Untraced bool `json:"untraced,omitempty"`

	// LogQ is the log-probability of the tokens under the distribution that was sampled from, temperature
	// included, at each λ of Config.Evaluate. Nil where Setup.Reweights is false.
	LogQ []float64 `json:"log_q,omitempty"`

	// Exact is what the particles tell that the output was kept of; nil where there were none.
	Exact *decode.Exact `json:"exact,omitempty"`

	// Rewards by the names of Config.Rewards. A name that is not there was not judged yet.
	Rewards map[string]Value `json:"rewards,omitempty"`
}

// NewOutput is an experiment's output before any reward has judged it.
func NewOutput(o *experiment.Output) Output {
	return Output{
		Cell: o.Cell, Text: o.Text, Tokens: o.Tokens, Finish: o.Finish, Error: o.Error, Untraced: o.Untraced,
		KL: o.KL, LogZ: o.LogZ, LogpReference: o.LogpReference, LogpAligned: o.LogpAligned, LogQ: o.LogQ, Exact: o.Exact,
	}
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

// valueJSON is a Value that a number alone does not say.
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
	Higher Direction = "higher" // the greater the better
	Lower  Direction = "lower"  // the smaller the better
)

// State is how far a sweep is.
type State string

// Paused and cancelled sweeps keep what they have; failed is a sweep that could not be started or could not go on.
// A sweep that has ended may be judged again, or by more rewards, without anything being decoded.
const (
	Pending   State = "pending"
	Running   State = "running"   // being decoded and judged
	Paused    State = "paused"    // nothing new is begun until it is resumed
	Judging   State = "judging"   // again, after its end, to which it goes back
	Done      State = "done"      // all that was asked for is decoded and judged
	Cancelled State = "cancelled" // ended by its owner
	Failed    State = "failed"    // see Sweep.Reason
)

// Ended reports whether nothing more will happen.
func (s State) Ended() bool { return s == Done || s == Cancelled || s == Failed }

// Can reports whether a sweep in state s may go to state t.
func (s State) Can(t State) bool {
	return slices.Contains(map[State][]State{
		Pending: {Running, Paused, Cancelled, Failed},
		Running: {Paused, Done, Cancelled, Failed},
		Paused:  {Running, Cancelled},

		Done:      {Judging},
		Cancelled: {Judging},
		Judging:   {Done, Cancelled, Failed},
	}[s], t)
}
