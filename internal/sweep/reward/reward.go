// Package reward judges decoded texts: each reward says how good one is in a unit of its own, or why it
// cannot say. A failing reward gives a missing value with the reason, never zero. Rewards are found by name
// in a registry, so that configuration, pages and the command share one list.
package reward

import (
	"context"
	"slices"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/sweep"
)

// Info is what a reward is, for people and for checks before a sweep starts.
type Info struct {
	Name      string          // in the registry
	Title     string          // for pages
	About     string          // one or two sentences: what it measures, by which definition
	Unit      string          // of its values; empty is a pure number
	Direction sweep.Direction // which values are better
	Needs     []string        // columns of the prompts: sweep.ColumnContext, sweep.ColumnReference
	Headless  bool            // runs a program or the like: only from the command line
	Remote    bool            // asks an endpoint: slow, may cost, may fail
	Schema    []Parameter     // its parameters
}

// Parameter describes one field of a reward's parameters.
type Parameter struct {
	Name    string // as in JSON
	About   string // for people
	Default string // as it would be written; empty is none: it must be given
}

// Reward judges texts. It may be used by several goroutines at once.
type Reward interface {
	// Info is what this reward is: the registry's, or what its parameters make of it.
	Info() Info

	// Score gives one value per output, in order. The outputs are decoded answers to the prompts of their rows,
	// rows[i] to outputs[i]; failed ones are not among them. It returns when all have a value or ctx ends.
	Score(ctx context.Context, rows []sweep.Row, outputs []sweep.Output) []sweep.Value
}

// Checker is a reward that can be unable to work at all: an endpoint that does not answer.
type Checker interface {
	// Check returns an Unavailable or Invalid error that says what is wrong.
	Check(ctx context.Context) error
}

// reader is a reward that does not read its parameters when it is made.
type reader interface {
	// read returns an Invalid error for parameters that do not fit.
	read(ctx context.Context) error
}

// Environment is what rewards are given beyond their parameters.
type Environment struct {
	Beta     float64 // β of the aligned model; 0 when nobody says
	Headless bool    // the command line: rewards that run programs are allowed, and all addresses

	// Endpoint says whether an address may be asked; nil allows none unless Headless. A server's own network is
	// within its reach, so it should allow only what its administrator lists.
	Endpoint func(url string) error

	Secret func(name string) string // a secret by its name, such as an environment variable; nil has none
	Cache  Cache                    // of answers that cost; nil keeps none
}

// Cache keeps answers of endpoints by what was asked. It may be used by several goroutines at once.
type Cache interface {
	// Get is what was put under a key; false where nothing is.
	Get(key string) (answer []byte, ok bool)
	// Put keeps an answer under a key, if it can.
	Put(key string, answer []byte)
}

// InfosOf are the rewards as estimates know them, for sweep.Setup.
func InfosOf(rewards []Named) []sweep.RewardInfo {
	var infos []sweep.RewardInfo
	for _, r := range rewards {
		info := r.Info()
		infos = append(infos, sweep.RewardInfo{Name: r.Name, Title: info.Title, Unit: info.Unit, Direction: info.Direction})
	}
	return infos
}

// maker builds a reward from its parameters in JSON (never nil).
type maker struct {
	info   Info                                                   // of the registry
	make   func(parameters []byte, e Environment) (Reward, error) // errors are Invalid and name the parameter
	inside func(parameters []byte, e Environment) (Reward, error) // make in the process that the reward is confined to; nil for others
}

// Infos lists the rewards of the registry, by name.
func Infos() []Info {
	var infos []Info
	for _, m := range registry() {
		infos = append(infos, m.info)
	}
	return infos
}

// Named is a reward as a sweep calls it.
type Named struct {
	Name string
	Reward
}

// Score judges what the outputs say: what a model thought before is no part of its answer.
func (n Named) Score(ctx context.Context, rows []sweep.Row, outputs []sweep.Output) []sweep.Value {
	said := slices.Clone(outputs)
	for i := range said {
		said[i].Text = decode.Said(said[i].Text)
	}
	return n.Reward.Score(ctx, rows, said)
}

// Open builds the rewards of a configuration whose prompts have been read. The error is Invalid and names the
// reward: one that does not exist (with the nearest name), parameters that do not fit, a column of the
// prompts that is missing, a reward that only the command line may use.
func Open(ctx context.Context, c *sweep.Config, e Environment) ([]Named, error) {
	all := registry()
	var names []string
	for _, m := range all {
		names = append(names, m.info.Name)
	}
	var rewards []Named
	for _, r := range c.Rewards {
		i := slices.Index(names, r.Reward)
		if i < 0 {
			return nil, fault.Field("rewards", "there is no reward %q; the nearest is %q", r.Reward, sweep.Nearest(r.Reward, names))
		}
		if all[i].info.Headless && !e.Headless {
			return nil, fault.Field("rewards."+r.Name, "only the command line may use the reward %q", r.Reward)
		}
		parameters := []byte(r.Parameters)
		if len(parameters) == 0 || string(parameters) == "null" {
			parameters = []byte("{}")
		}
		made, err := all[i].make(parameters, e)
		if err != nil {
			return nil, within("rewards."+r.Name, err)
		}
		if r, ok := made.(reader); ok {
			err = r.read(ctx)
		}
		if err != nil {
			return nil, within("rewards."+r.Name, err)
		}
		for _, column := range made.Info().Needs {
			for n := range c.Prompts.Rows {
				if !c.Prompts.Rows[n].Has(column) {
					return nil, fault.Field("rewards."+r.Name, "the reward %q needs the column %q, which prompts[%d] does not have", r.Reward, column, n)
				}
			}
		}
		rewards = append(rewards, Named{r.Name, made})
	}
	return rewards, nil
}

// Check asks the rewards that can be unable to work whether they are able, before anything is decoded.
func Check(ctx context.Context, rewards []Named) error {
	for _, r := range rewards {
		if c, ok := r.Reward.(Checker); ok {
			if err := c.Check(ctx); err != nil {
				return within("rewards."+r.Name, err)
			}
		}
	}
	return nil
}

// within puts the path of the reward before the field of an error.
func within(path string, err error) error {
	f := *fault.Of(err)
	if f.Field == "" {
		f.Field = path
	} else {
		f.Field = path + "." + f.Field
	}
	return &f
}
