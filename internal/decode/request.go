package decode

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"realign/internal/fault"
)

// Limits on what one request may ask for. The engine's own limits (cache cells, context) come on top.
const (
	MinLambda       = -5.0
	MaxLambda       = 20.0
	MaxLanes        = 64
	MaxAligned      = 4
	MaxTokensLimit  = 4096
	MaxStops        = 8
	MaxStopBytes    = 64
	MaxAlternatives = 20
	MaxPromptBytes  = 256 << 10
)

// Vector is one number per aligned model. In JSON it is a plain number when there is one.
type Vector []float64

// Request is one run: a prompt decoded on a set of lanes with one seed and one set of sampling
// parameters. A lane's output depends on the pair's files, the prompt, the sampling parameters, the seed
// and that lane's own line only, so lanes may be added to a run later by a second request.
type Request struct {
	Run       string    `json:"run,omitempty"`      // the run's id, for logs and events
	Owner     string    `json:"owner,omitempty"`    // whose it is: what was read for an owner is kept for that owner's next requests
	Client    string    `json:"client,omitempty"`   // who is served in turn with other clients; owners of one client are, too
	Guest     bool      `json:"guest,omitempty"`    // of somebody without an identity: guests together have half of the room at most
	Aligned   []string  `json:"aligned"`            // names of aligned models; empty means the pair's default
	Prompt    Prompt    `json:"prompt"`             // what is continued, or scored
	Lanes     []Lane    `json:"lanes,omitempty"`    // streams of tokens; none with Map or Score
	Map       *Map      `json:"map,omitempty"`      // instead of lanes
	Score     *Score    `json:"score,omitempty"`    // instead of lanes
	Contrast  *Contrast `json:"contrast,omitempty"` // instead of the pair's own, which must be one
	Rendering Rendering `json:"rendering,omitzero"` // of conversations
	Sampling  Sampling  `json:"sampling"`           // of all lanes
	Seed      uint64    `json:"seed,string"`        // of the noise: see SeedByPrompt
	Trace     Trace     `json:"trace"`              // what token events tell beside the token

	// SeedByPrompt mixes a hash of the prompt's tokens into the seed, so that prompts that are all sent with one seed do not
	// see the same noise. λ plays no part in it: lanes stay coupled. The start event tells the seed that counts.
	SeedByPrompt bool `json:"seed_by_prompt,omitempty"`

	// Encode asks for the prompt as tokens and for nothing to be decoded: the start event has them.
	Encode bool `json:"encode,omitempty"`

	// Totals asks for sums over each lane's tokens in its end event. Evaluate are λ at which the log-probability of the
	// whole lane is wanted among them, beside the λ that chose it.
	Totals   bool      `json:"totals,omitempty"`
	Evaluate []float64 `json:"evaluate,omitempty"`

	// Background lets every other request go first: its lanes rest while any other's are being decoded.
	Background bool `json:"background,omitempty"`

	// Mix is what λ mixes: MixLogits, which "" means, too, or MixWeights. Lanes that say it, say the same.
	Mix string `json:"mix,omitempty"`

	// Plain switches off lane sharing and speculation: the oracle that the fast path must equal.
	Plain bool `json:"plain,omitempty"`
}

// Prompt is a conversation for the chat template, or a text to complete, or tokens. Exactly one is set.
type Prompt struct {
	Messages []Message `json:"messages,omitempty"`
	Text     string    `json:"text,omitempty"`
	Tokens   []Token   `json:"tokens,omitempty"`

	// Bare leaves out the start token that the model expects before a text. Special takes the spellings of special tokens in
	// a text for those tokens.
	Bare    bool `json:"bare,omitempty"`
	Special bool `json:"special,omitempty"`
}

// Lane is one stream of tokens.
type Lane struct {
	Index  int    `json:"lane"`   // its number in the run
	Lambda Vector `json:"lambda"` // one λ per aligned model
	Sample int    `json:"sample"` // lanes with different sample numbers get independent noise

	// Mix is what λ mixes in this lane: see Request.Mix. A request has lanes of one kind; a run may have both.
	Mix string `json:"mix,omitempty"`

	// Changes are moves of λ while the lane ran, in order: each holds from token At on.
	Changes []Change `json:"changes,omitempty"`

	// Prefix are tokens the lane starts with instead of choosing them. They are traced like chosen ones.
	Prefix []Token `json:"prefix,omitempty"`
}

// Change is a move of a lane's λ.
type Change struct {
	At     int    `json:"at"`     // index of the first token decoded at Lambda
	Lambda Vector `json:"lambda"` // one λ per aligned model
}

// Sampling are the parameters shared by the lanes of a run. Zero values of TopK, MinP, the penalties and
// Bias, and TopP = 1, mean off.
type Sampling struct {
	MaxTokens   int     `json:"max_tokens"`  // decoded in a lane at most
	Temperature float64 `json:"temperature"` // 0 is greedy
	TopK        int     `json:"top_k"`       // most probable tokens that are kept
	TopP        float64 `json:"top_p"`       // mass of the most probable tokens that are kept
	MinP        float64 `json:"min_p"`       // share of the greatest probability below which tokens are dropped

	RepeatPenalty    float64 `json:"repeat_penalty"`    // 1 (or 0) is off; Keskar et al. 2019, §4.1
	PresencePenalty  float64 `json:"presence_penalty"`  // subtracted once from every token already generated
	FrequencyPenalty float64 `json:"frequency_penalty"` // subtracted once per earlier occurrence
	PenaltyWindow    int     `json:"penalty_window"`    // generated tokens looked back on; 0 is all

	Bias map[Token]float64 `json:"bias,omitempty"` // added to the mixed logits
	Stop []string          `json:"stop,omitempty"` // texts that end a lane; they are not part of its text

	// Exact is how many particles each lane is decoded by, so that whole replies are distributed by λ and not token by token; 0 is off. It
	// is for temperature 1 without truncation, penalties and bias: see exact.go.
	Exact int `json:"exact,omitempty"`

	// IgnoreEnd decodes on after an end token until MaxTokens: for measurements.
	IgnoreEnd bool `json:"ignore_end,omitempty"`
}

// Trace says what token events carry beyond the token.
type Trace struct {
	Off          bool `json:"off,omitempty"`          // no log-probabilities: lanes at λ = 0 or 1 need one model only
	Alternatives int  `json:"alternatives,omitempty"` // most probable tokens to list for each distribution
	Bytes        bool `json:"bytes,omitempty"`        // the bytes that each token stands for
}

// DefaultSampling is what an interface starts from.
func DefaultSampling() Sampling {
	return Sampling{MaxTokens: 128, Temperature: 0.7, TopP: 1}
}

// MarshalJSON writes a single number as a number.
func (v Vector) MarshalJSON() ([]byte, error) {
	if len(v) == 1 {
		return appendFloat(nil, v[0]), nil
	}
	b := []byte{'['}
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFloat(b, x)
	}
	return append(b, ']'), nil
}

// UnmarshalJSON reads a number or a list of numbers. null, which stands for what JSON has no number for, is
// NaN.
func (v *Vector) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '[' {
		b = slices.Concat([]byte{'['}, b, []byte{']'})
	}
	var list []*float64
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*v = make(Vector, len(list))
	for i, x := range list {
		(*v)[i] = math.NaN()
		if x != nil {
			(*v)[i] = *x
		}
	}
	return nil
}

// appendFloat writes −∞ and its like as null, which JSON can hold.
func appendFloat(b []byte, x float64) []byte {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, x, 'g', -1, 64)
}

// Equal reports whether two vectors hold the same numbers.
func (v Vector) Equal(w Vector) bool {
	if len(v) != len(w) {
		return false
	}
	for i := range v {
		if v[i] != w[i] {
			return false
		}
	}
	return true
}

// CheckLambda returns an Invalid error unless v has n finite entries within [MinLambda, MaxLambda].
func CheckLambda(field string, v Vector, n int) error {
	if len(v) != n {
		return fault.Field(field, "needs %d values, one for each aligned model, and has %d", n, len(v))
	}
	for _, x := range v {
		if math.IsNaN(x) || x < MinLambda || x > MaxLambda {
			return fault.Field(field, "%v is outside %g to %g", x, MinLambda, MaxLambda)
		}
	}
	return nil
}
