package sweep

import (
	"slices"
	"time"

	"realign/internal/decode"
	"realign/internal/experiment"
)

// Setup is a sweep as it was started: the configuration with what had to be looked up for it. Plan and report are
// functions of it and of the outputs, so it is kept with the sweep and does not change, but for rewards that are
// added at the end.
type Setup struct {
	Config      Config       `json:"config"`
	Aligned     string       `json:"aligned"` // name of the aligned model, the pair's default resolved
	Beta        float64      `json:"beta"`    // β₀ that it was trained with; 0 when nobody says
	RewardInfos []RewardInfo `json:"judges"`  // one per reward of the configuration, in its order

	// Rendering is what conversations are rendered with: the date at which the sweep was started.
	Rendering decode.Rendering `json:"rendering,omitzero"`

	// Unweighted says that the sweep is about outputs that were decoded for something else, and of which no
	// log-probabilities at the λ of Config.Evaluate were kept: nothing is reweighted.
	Unweighted bool `json:"unweighted,omitempty"`
}

// NewSetup is the setup of a sweep that is started now, before anything is looked up for it.
func NewSetup(c Config, now time.Time) Setup {
	return Setup{Config: c, Rendering: decode.Rendering{}.At(now)}
}

// Reweights reports whether samples at one λ say something about another.
func (s *Setup) Reweights() bool { return !s.Unweighted && s.Config.Reweights() }

// Experiment is what the sweep has decoded, where it makes an experiment of its own.
func (s *Setup) Experiment() experiment.Setup {
	c := &s.Config
	e := experiment.Setup{Pair: c.Pair, Aligned: s.Aligned, Sampling: c.Sampling, Seed: c.Seed, Rendering: s.Rendering, Mix: c.Mix, Prompts: make([]experiment.Prompt, len(c.Prompts.Rows))}
	for i := range c.Prompts.Rows {
		e.Prompts[i] = experiment.Prompt{Prompt: c.Prompt(i), Category: c.Prompts.Rows[i].Category}
	}
	if c.Reweights() {
		e.Evaluate = c.Evaluate()
	}
	return e
}

// Asks reports whether an output of its experiment belongs to the sweep: to its grid, or to a round of refinement, whose
// outputs are known by being judged. What was decoded for others does not.
func (s *Setup) Asks(o *Output) bool {
	c := &s.Config
	if o.Sample < c.Samples {
		return slices.Contains(c.Lambda.Values, o.Lambda)
	}
	return o.Failed() || len(o.Rewards) > 0
}

// RewardInfo is what estimates need to know of a reward.
type RewardInfo struct {
	Name      string    `json:"name"`           // as the configuration calls it
	Title     string    `json:"title"`          // for people
	Unit      string    `json:"unit,omitempty"` // of its values; "" for a bare number
	Direction Direction `json:"direction"`      // which values are better
}

// RewardInfo is what is known of the reward of a name; the zero RewardInfo for none.
func (s *Setup) RewardInfo(name string) RewardInfo {
	for _, j := range s.RewardInfos {
		if j.Name == name {
			return j
		}
	}
	return RewardInfo{}
}

// sign is 1 where more is better and −1 where less is.
func (j RewardInfo) sign() float64 {
	if j.Direction == Lower {
		return -1
	}
	return 1
}

// Added is a reward that was added to a sweep after its start.
type Added struct {
	Reward Reward     `json:"reward"` // as the configuration has it from then on
	Info   RewardInfo `json:"judge"`  // what estimates need to know of it
}

// Add adds rewards to what the sweep is judged by. Others may hold the setup: its lists are replaced.
func (s *Setup) Add(added []Added) {
	s.Config.Rewards, s.RewardInfos = slices.Clone(s.Config.Rewards), slices.Clone(s.RewardInfos)
	for _, a := range added {
		s.Config.Rewards, s.RewardInfos = append(s.Config.Rewards, a.Reward), append(s.RewardInfos, a.Info)
	}
}
