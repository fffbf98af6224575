// Package experiment decodes prompts × λ × samples, once: studies have people rate the outputs, sweeps have rewards
// judge them, and both can be about one experiment. Here are its words, the requests that its cells are decoded by, and
// the Generator, which has them decoded in the background over a queue. It has no SQL, no HTTP and no messages, and it
// knows neither people nor rewards: what is to be decoded next, a Client says.
//
// The life of a cell:
//
//	a Client's plan asks for its item      Client.Plan
//	  └─ the item is queued                Queue.Offer      (again after a minute in which nothing came)
//	       └─ a worker decodes it          any worker of the pair; given to another if that one dies
//	            └─ its output is stored    Store.AddOutputs (the first that comes stays)
//	                 └─ its Client has it  Client.Take      (again, also after a restart, until it says that it has)
package experiment

import (
	"math"
	"slices"
	"time"

	"realign/internal/decode"
)

// Experiment is what was and will be decoded of some prompts by one pair, with one seed: whatever studies and sweeps
// about it ask for. It is made with the first of them and removed with the last.
type Experiment struct {
	ID      string
	Owner   string
	Setup   Setup
	Created time.Time

	// Secret says that Setup.Seed depends on the secret of the study that it was decoded for, which is not closed: nobody is
	// told it, nor the seeds of outputs.
	Secret bool
}

// Setup is all that outputs depend on, but for λ and sample. It never changes.
type Setup struct {
	Pair     string          `json:"pair"`        // name of the pair
	Aligned  string          `json:"aligned"`     // the one aligned model whose λ is looked at
	Prompts  []Prompt        `json:"prompts"`     // by their index
	Sampling decode.Sampling `json:"sampling"`    // of all outputs
	Seed     uint64          `json:"seed,string"` // of the noise, by prompt: see PromptSeed

	// Rendering is what conversations are rendered with: the date at which the experiment was made.
	Rendering decode.Rendering `json:"rendering,omitzero"`

	// Evaluate are the λ at which each output's log-probability is kept, so that what was sampled at one λ can be reweighted
	// to another. None where that means nothing: see Reweights.
	Evaluate []float64 `json:"evaluate,omitempty"`

	// Mix is what λ mixes: decode.MixLogits, which "" means, too, or decode.MixWeights, of whose outputs nothing but the
	// texts is known.
	Mix string `json:"mix,omitempty"`
}

// Prompt is what a pair is asked: a conversation or a text to complete, as it is decoded.
type Prompt struct {
	decode.Prompt
	Category string `json:"category,omitempty"` // by which results are told apart; "" is none
}

// PromptSeed is the seed of a prompt's outputs. All λ of a prompt share it, so that they differ because of λ alone;
// prompts do not, so that no two are answered under the same noise.
func PromptSeed(seed uint64, prompt int) uint64 {
	return decode.SplitMix(seed + (uint64(prompt)+1)*seedStep)
}

// seedStep is SplitMix64's increment.
const seedStep = 0x9e3779b97f4a7c15

// NextSeed is the seed under which prompt i has the noise that prompt i+1 has under the given one.
func NextSeed(seed uint64) uint64 { return seed + seedStep }

// Reweights reports whether samples at one λ say something about another: they do where every token was
// drawn from the whole distribution, softmax of the mixture over the temperature. Truncation, penalties and
// greedy decoding leave tokens that one λ can choose and another cannot; what particles keep has no known density.
func Reweights(s *decode.Sampling) bool {
	return s.Exact == 0 && s.Temperature > 0 && s.TopK == 0 && s.TopP == 1 && s.MinP == 0 && len(s.Bias) == 0 &&
		(s.RepeatPenalty == 0 || s.RepeatPenalty == 1) && s.PresencePenalty == 0 && s.FrequencyPenalty == 0
}

// evaluateParts is how many intervals the range of λ is divided into, at least, for EvaluationGrid.
const evaluateParts = 40

// EvaluationGrid is the grid itself, which ascends, and between two neighbours evenly spaced λ no wider apart than a
// fortieth of the range.
func EvaluationGrid(grid []float64) []float64 {
	last := len(grid) - 1
	widest := (grid[last] - grid[0]) / evaluateParts
	var fine []float64
	for i := range last {
		low, high := grid[i], grid[i+1]
		n := max(1, int(math.Ceil((high-low)/widest-1e-9)))
		for k := range n {
			fine = append(fine, Tidy(low+(high-low)*float64(k)/float64(n)))
		}
		fine[len(fine)-n] = low
	}
	return append(fine, grid[last])
}

// Tidy rounds to nine decimals, so that λ print as people write them: 0.3, not 0.30000000000000004.
func Tidy(x float64) float64 { return math.Round(x*1e9) / 1e9 }

// Request decodes an item, with lane i at cell i of Item.Cells. It has no owner, for whom the engine would keep what it
// read: outputs must not depend on what ran before.
func (s *Setup) Request(item Item, run string) decode.Request {
	r := decode.Request{
		Run: run, Aligned: []string{s.Aligned}, Sampling: s.Sampling, Seed: PromptSeed(s.Seed, item.Prompt),
		Prompt: s.Prompts[item.Prompt].Prompt, Rendering: s.Rendering, Totals: true, Evaluate: s.Evaluate, Mix: s.Mix,
	}
	if decode.InWeights(s.Mix) {
		r.Totals, r.Evaluate = false, nil
	}
	for i, cell := range item.Cells() {
		r.Lanes = append(r.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{cell.Lambda}, Sample: cell.Sample})
	}
	return r
}

// Same reports whether two prompts are decoded alike.
func (p *Prompt) Same(q *Prompt) bool {
	return p.Text == q.Text && slices.Equal(p.Messages, q.Messages) && slices.Equal(p.Tokens, q.Tokens) && p.Bare == q.Bare && p.Special == q.Special
}

// Parts are what people and files of prompts know a prompt by.
type Parts struct {
	Plain   bool             // a text to complete
	System  string           // of a conversation
	History []decode.Message // of a conversation, before what is asked: user and assistant take turns
	Asked   string           // the text, or what the user says last
}

// Parts takes a prompt apart; it is false for tokens, and for conversations that do not end with the user's turn.
func (p *Prompt) Parts() (Parts, bool) {
	if p.Text != "" {
		return Parts{Plain: true, Asked: p.Text}, !p.Bare && !p.Special
	}
	var parts Parts
	messages := p.Messages
	if len(messages) > 0 && messages[0].Role == "system" {
		parts.System, messages = messages[0].Content, messages[1:]
	}
	if len(messages)%2 == 0 {
		return parts, false
	}
	for i, m := range messages {
		if m.Role != [2]string{"user", "assistant"}[i%2] {
			return parts, false
		}
	}
	last := len(messages) - 1
	if last > 0 {
		parts.History = slices.Clone(messages[:last])
	}
	parts.Asked = messages[last].Content
	return parts, true
}
