package sweep

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
)

// Limits of a sweep.
const (
	MaxPrompts = 100_000 // of a sweep
	MaxSamples = 64      // per prompt and λ
	MaxRewards = 16      // of a sweep
	MaxRounds  = 20      // of refinement
	MaxBudget  = 1 << 40 // tokens
	MaxName    = 80      // characters of the name of a sweep or of a reward
)

// Config is everything that a sweep is asked to do: the file of `realign sweep --config`, as JSON. Parse or
// Complete fill in what is left open; it is kept with the sweep and does not change then, but for added rewards.
type Config struct {
	Name       string          `json:"name,omitempty"`       // for people; may be empty
	Pair       string          `json:"pair"`                 // name of the pair
	Aligned    string          `json:"aligned,omitempty"`    // name of the aligned model; empty is the pair's default
	Mode       string          `json:"mode,omitempty"`       // "chat" (or empty) through the chat template, "plain" as a text to complete
	System     string          `json:"system,omitempty"`     // for prompts that have none of their own
	Template   string          `json:"template,omitempty"`   // what is decoded for a row, with {prompt} and {context} in it; empty is the prompt alone
	Prompts    Prompts         `json:"prompts"`              // of the validation set
	Lambda     Grid            `json:"lambda"`               // the grid
	Rewards    []Reward        `json:"rewards"`              // one at least
	Objective  string          `json:"objective,omitempty"`  // name of the reward whose best λ is sought; empty is the first
	Evaluation string          `json:"evaluation,omitempty"` // name of a reward that stands beside the objective and is not optimised
	Samples    int             `json:"samples"`              // per prompt and λ, and once more in every round of refinement
	Sampling   decode.Sampling `json:"sampling"`             // of all outputs
	Mix        string          `json:"mix,omitempty"`        // what λ mixes: decode.MixLogits (or empty), or decode.MixWeights
	Seed       uint64          `json:"seed"`                 // of outputs and of the statistics' resamples
	Budget     int             `json:"budget,omitempty"`     // decoded tokens, never exceeded; 0 is no limit
	Refine     Refine          `json:"refine"`               // after the grid
}

// Refine says how the grid is refined around the best λ: see Next.
type Refine struct {
	Rounds int     `json:"rounds"`          // at most so many; 0 is none
	Width  float64 `json:"width,omitempty"` // stop once the interval of the best λ was no wider after two rounds; 0 is never
}

// Reward names a reward of the registry and its parameters.
type Reward struct {
	Reward     string          `json:"reward"`               // its name in the registry
	Name       string          `json:"name,omitempty"`       // what it is called in this sweep; empty is the registry's name
	Parameters json.RawMessage `json:"parameters,omitempty"` // as the reward has them; nil is its defaults
}

// UnmarshalJSON reads an object, or a text that is the registry's name alone.
func (r *Reward) UnmarshalJSON(b []byte) error {
	*r = Reward{}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &r.Reward)
	}
	type plain Reward
	return Strict("rewards", b, (*plain)(r))
}

// Default is what a configuration starts from: sampling from the models' own distributions, which is what
// β means and what reweighting needs.
func Default() Config {
	return Config{
		Samples:  4,
		Sampling: decode.Sampling{MaxTokens: 64, Temperature: 1, TopP: 1},
		Refine:   Refine{Rounds: 2},
	}
}

// Bounds is the one table of the ranges of a configuration's numbers, those of its sampling among them, by the last part of their
// names in JSON: configurations are checked by it, and forms take it from here.
func Bounds() []decode.Bound {
	return append(decode.Bounds(),
		decode.Bound{Field: "samples", Low: 1, High: MaxSamples, Whole: true}, decode.Bound{Field: "points", Low: 2, High: MaxGrid, Whole: true},
		decode.Bound{Field: "rounds", High: MaxRounds, Whole: true}, decode.Bound{Field: "budget", High: MaxBudget, Whole: true},
	)
}

// checkBound checks a number by the table, and names it in full.
func checkBound(field string, n int) error {
	last := field[strings.LastIndex(field, ".")+1:]
	for _, b := range Bounds() {
		if b.Field == last && !b.Holds(float64(n)) {
			return fault.Field(field, "%d is not from %.0f to %.0f", n, b.Low, b.High)
		}
	}
	return nil
}

// Parse reads a configuration in JSON over the defaults and completes it. Prompts that are in a file are not
// read: Config.Prompts.Path says where they are. The error is Invalid and names the field, for an unknown
// field with the valid name nearest to it.
func Parse(data []byte) (*Config, error) {
	c := Default()
	if err := Strict("", data, &c); err != nil {
		return nil, err
	}
	if err := c.Complete(); err != nil {
		return nil, err
	}
	return &c, nil
}

// Complete gives rewards without a name that of the registry, makes the first one the objective where none is named, and checks all but
// the prompts. The error is Invalid and names the field.
func (c *Config) Complete() error {
	for i := range c.Rewards {
		if r := &c.Rewards[i]; r.Name == "" {
			r.Name = r.Reward
		}
	}
	if c.Objective == "" && len(c.Rewards) > 0 {
		c.Objective = c.Rewards[0].Name
	}
	return c.check()
}

// Validate checks a configuration whose prompts have been read. The error is Invalid and names the field and
// the limit. What only the registry knows (parameters of rewards, columns that they need) is checked there.
func (c *Config) Validate() error {
	if err := c.check(); err != nil {
		return err
	}
	rows := c.Prompts.Rows
	if len(rows) == 0 {
		return fault.Field("prompts", "give at least one")
	}
	if len(rows) > MaxPrompts {
		return fault.Field("prompts", "%d prompts, at most %d", len(rows), MaxPrompts)
	}
	for i := range rows {
		if err := c.checkRow(&rows[i]); err != nil {
			return unfit(i, &rows[i], err)
		}
	}
	if least := c.MinBudget(); c.Budget > 0 && c.Budget < least {
		return fault.Field("budget", "%d decoded tokens are too few for one prompt, which may take %d (%d λ × %d samples × %d tokens)",
			c.Budget, least, len(c.Lambda.Values), c.Samples, c.Sampling.MaxTokens)
	}
	return nil
}

// MinBudget is the most that one prompt on the whole grid can cost, in decoded tokens.
func (c *Config) MinBudget() int { return len(c.Lambda.Values) * c.Samples * c.Sampling.MaxTokens }

// check is what can be said without the prompts.
func (c *Config) check() error {
	if c.Pair == "" {
		return fault.Field("pair", "is missing")
	}
	for field, text := range map[string]string{"name": c.Name, "system": c.System, "template": c.Template} {
		if !utf8.ValidString(text) {
			return fault.Field(field, "is not valid UTF-8")
		}
	}
	if n := utf8.RuneCountInString(c.Name); n > MaxName {
		return fault.Field("name", "%d characters, at most %d", n, MaxName)
	}
	switch c.Mode {
	case "", "chat":
	case "plain":
		if c.System != "" {
			return fault.Field("system", "a text to complete has no system prompt")
		}
	default:
		return fault.Field("mode", "%.20q is neither chat nor plain", c.Mode)
	}
	if c.Template != "" && !strings.Contains(c.Template, "{prompt}") {
		return fault.Field("template", "has no {prompt} in it")
	}
	if err := c.Lambda.check(); err != nil {
		return err
	}
	if err := c.checkRewards(); err != nil {
		return err
	}
	if err := checkBound("samples", c.Samples); err != nil {
		return err
	}
	if err := c.Sampling.Validate(); err != nil {
		f := fault.Of(err)
		return fault.Field("sampling."+f.Field, "%s", f.Message)
	}
	if err := decode.CheckMix("mix", c.Mix); err != nil {
		return err
	}
	if decode.InWeights(c.Mix) && c.Sampling.Exact > 0 {
		return fault.Field("mix", "%s does not go with sampling.exact (%d), whose particles need both models: leave one of them out", c.Mix, c.Sampling.Exact)
	}
	if checkBound("budget", c.Budget) != nil {
		return fault.Field("budget", "%d is not from 0 (no limit) to %d decoded tokens", c.Budget, MaxBudget)
	}
	if err := checkBound("refine.rounds", c.Refine.Rounds); err != nil {
		return err
	}
	if !(c.Refine.Width >= 0) || math.IsInf(c.Refine.Width, 0) {
		return fault.Field("refine.width", "%g is not a finite number from 0", c.Refine.Width)
	}
	return nil
}

// checkRewards wants distinct names, and an objective and an evaluation among them.
func (c *Config) checkRewards() error {
	if len(c.Rewards) == 0 {
		return fault.Field("rewards", "choose at least one")
	}
	if len(c.Rewards) > MaxRewards {
		return fault.Field("rewards", "%d rewards, at most %d", len(c.Rewards), MaxRewards)
	}
	var names []string
	for _, r := range c.Rewards {
		if r.Reward == "" {
			return fault.Field("rewards", "one has no reward: its name in the registry")
		}
		if n := utf8.RuneCountInString(r.Name); n == 0 || n > MaxName || !utf8.ValidString(r.Name) {
			return fault.Field("rewards", "a name has 1 to %d characters", MaxName)
		}
		if slices.Contains(names, r.Name) {
			return fault.Field("rewards", "two are called %q: give one a name", r.Name)
		}
		names = append(names, r.Name)
	}
	for field, name := range map[string]string{"objective": c.Objective, "evaluation": c.Evaluation} {
		if name != "" && !slices.Contains(names, name) {
			return fault.Field(field, "no reward is called %q; the nearest is %q", name, Nearest(name, names))
		}
	}
	if c.Objective == "" {
		return fault.Field("objective", "is missing")
	}
	if c.Objective == c.Evaluation {
		return fault.Field("evaluation", "%q is the objective itself", c.Evaluation)
	}
	return nil
}

// Reweights reports whether samples at one λ say something about another: see experiment.Reweights.
func (c *Config) Reweights() bool {
	return !decode.InWeights(c.Mix) && experiment.Reweights(&c.Sampling)
}

// Evaluate is the fixed fine grid of λ on which curves are drawn, and from which refinement chooses: see
// experiment.EvaluationGrid. It depends on the grid alone. Output.LogQ is in its order.
func (c *Config) Evaluate() []float64 { return experiment.EvaluationGrid(c.Lambda.Values) }

// Prompt is what is decoded for a row. Where the row has a context it stands before the prompt, with an empty
// line between, unless Template says where.
func (c *Config) Prompt(i int) decode.Prompt {
	row := &c.Prompts.Rows[i]
	text := row.Asked()
	if c.Template != "" {
		text = strings.NewReplacer("{prompt}", row.Text, "{context}", row.Context).Replace(c.Template)
	}
	if c.Mode == "plain" {
		return decode.Prompt{Text: text}
	}
	return decode.Prompt{Messages: row.Messages(cmp.Or(row.System, c.System), text)}
}
