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
	MaxPrompts = 100_000
	MaxSamples = 64
	MaxRewards = 16
	MaxRounds  = 20
	MaxBudget  = 1 << 40 // tokens
	MaxName    = 80      // characters of the name of a sweep or of a reward
)

// Config is everything that a sweep is asked to do: the file of `realign sweep --config`, as JSON.
type Config struct {
	Name       string          `json:"name,omitempty"`
	Pair       string          `json:"pair"`
	Aligned    string          `json:"aligned,omitempty"` // name of the aligned model; empty is the pair's default
	Mode       string          `json:"mode,omitempty"`    // "chat" (or empty) through the chat template, "plain" as a text to complete
	System     string          `json:"system,omitempty"`  // for prompts that have none of their own
	Template   string          `json:"template,omitempty"`
	Prompts    Prompts         `json:"prompts"`
	Lambda     Grid            `json:"lambda"`
	Rewards    []Reward        `json:"rewards"`
	Objective  string          `json:"objective,omitempty"`  // name of the reward whose best λ is sought; empty is the first
	Evaluation string          `json:"evaluation,omitempty"` // name of a reward that stands beside the objective and is not optimised
	Samples    int             `json:"samples"`              // per prompt and λ, and once more in every round of refinement
	Sampling   decode.Sampling `json:"sampling"`
	Seed       uint64          `json:"seed"`
	Budget     int             `json:"budget,omitempty"` // decoded tokens, never exceeded; 0 is no limit
	Refine     Refine          `json:"refine"`
}

// Refine says how the grid is refined around the best λ: see Next.
type Refine struct {
	Rounds int     `json:"rounds"`          // at most so many; 0 is none
	Width  float64 `json:"width,omitempty"` // stop once the interval of the best λ was no wider after two rounds; 0 is never
}

// Reward names a reward of the registry and its parameters.
type Reward struct {
	Reward     string          `json:"reward"`         // its name in the registry
	Name       string          `json:"name,omitempty"` // what it is called in this sweep; empty is the registry's name
	Parameters json.RawMessage `json:"parameters,omitempty"`
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

// Parse reads a configuration in JSON and completes it by the defaults. Prompts that are in a file are not
// read: Config.Prompts.Path says where they are. The error is Invalid and names the field, for an unknown
// field with the valid name nearest to it.
func Parse(data []byte) (*Config, error) {
	c := Default()
	if err := Strict("", data, &c); err != nil {
		return nil, err
	}
	for i := range c.Rewards {
		if r := &c.Rewards[i]; r.Name == "" {
			r.Name = r.Reward
		}
	}
	if c.Objective == "" && len(c.Rewards) > 0 {
		c.Objective = c.Rewards[0].Name
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return &c, nil
}

// Validate checks a configuration whose prompts have been read. The error is Invalid and names the field and
// the limit. What only the registry knows (parameters of rewards, columns that they need) is checked there.
func (c *Config) Validate() error {
	if err := c.check(); err != nil {
		return err
	}
	rows := c.Prompts.Rows
	if len(rows) == 0 {
		return fault.Field("prompts", "there are none")
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
	if c.Samples < 1 || c.Samples > MaxSamples {
		return fault.Field("samples", "%d is not from 1 to %d", c.Samples, MaxSamples)
	}
	if err := c.Sampling.Validate(); err != nil {
		f := fault.Of(err)
		return fault.Field("sampling."+f.Field, "%s", f.Message)
	}
	if c.Budget < 0 || c.Budget > MaxBudget {
		return fault.Field("budget", "%d is not from 0 (no limit) to %d decoded tokens", c.Budget, MaxBudget)
	}
	if c.Refine.Rounds < 0 || c.Refine.Rounds > MaxRounds {
		return fault.Field("refine.rounds", "%d is not from 0 to %d", c.Refine.Rounds, MaxRounds)
	}
	if !(c.Refine.Width >= 0) || math.IsInf(c.Refine.Width, 0) {
		return fault.Field("refine.width", "%g is not a finite number from 0", c.Refine.Width)
	}
	return nil
}

func (c *Config) checkRewards() error {
	if len(c.Rewards) == 0 {
		return fault.Field("rewards", "there are none")
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
func (c *Config) Reweights() bool { return experiment.Reweights(&c.Sampling) }

// Evaluate is the fixed fine grid of λ on which curves are drawn, and from which refinement chooses: see
// experiment.EvaluationGrid. It depends on the grid alone. Output.LogQ is in its order.
func (c *Config) Evaluate() []float64 { return experiment.EvaluationGrid(c.Lambda.Values) }

// PromptSeed is the seed of a prompt's run: all λ of a prompt share their noise, and prompts do not.
func (c *Config) PromptSeed(prompt int) uint64 { return experiment.PromptSeed(c.Seed, prompt) }

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
