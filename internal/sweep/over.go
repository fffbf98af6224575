package sweep

import (
	"reflect"
	"slices"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
)

// Over begins the configuration of a sweep about an experiment that exists: its prompts and sampling, on a grid of λ with so
// many samples. Rewards, a name and a seed are to be added. The seed is the statistics' alone: that of the experiment may
// be secret, and stays with it. Nothing is refined, which would decode more. The error is Conflict where a prompt is none
// that a sweep can have.
func Over(e *experiment.Setup, grid []float64, samples int) (Config, error) {
	c := Default()
	c.Pair, c.Aligned, c.Sampling, c.Samples = e.Pair, e.Aligned, e.Sampling, samples
	c.Lambda.Values, c.Refine, c.Mix = slices.Clone(grid), Refine{}, e.Mix
	c.Prompts.Rows = make([]Row, len(e.Prompts))
	for i := range e.Prompts {
		row, mode, ok := rowOf(&e.Prompts[i])
		if !ok || i > 0 && mode != c.Mode {
			return c, fault.New(fault.Conflict, "prompt %d of the experiment is neither a text nor a conversation like the others", i+1)
		}
		c.Prompts.Rows[i], c.Mode = row, mode
	}
	return c, nil
}

// rowOf is the row that is decoded as a prompt of an experiment, and how it is given to the models.
func rowOf(p *experiment.Prompt) (row Row, mode string, ok bool) {
	parts, ok := p.Parts()
	row = Row{Text: parts.Asked, System: parts.System, History: parts.History, Category: p.Category}
	if parts.Plain {
		return row, "plain", ok
	}
	return row, "chat", ok
}

// Fits checks that a configuration is about an experiment: that what it would decode, but for the noise, is what the
// experiment has. It reports whether the outputs cannot be reweighted, though such sampling allows it.
func (c *Config) Fits(e *experiment.Setup, outputs []experiment.Output) (unweighted bool, err error) {
	own := (&Setup{Config: *c, Aligned: e.Aligned}).Experiment()
	same := func(field string, equal bool) error {
		if equal {
			return nil
		}
		return fault.Field(field, "is not that of the experiment, whose outputs are to be judged")
	}
	for _, check := range []struct {
		field string
		equal bool
	}{
		{"pair", c.Pair == e.Pair}, {"aligned", c.Aligned == e.Aligned}, {"sampling", reflect.DeepEqual(c.Sampling, e.Sampling)},
		{"mix", decode.InWeights(c.Mix) == decode.InWeights(e.Mix)},
		{"prompts", slices.EqualFunc(own.Prompts, e.Prompts, func(a, b experiment.Prompt) bool { return a.Same(&b) })},
	} {
		if err := same(check.field, check.equal); err != nil {
			return false, err
		}
	}
	untraced := slices.ContainsFunc(outputs, func(o experiment.Output) bool { return o.Untraced && o.Finish != decode.EndError })
	return c.Reweights() && (untraced || !slices.Equal(own.Evaluate, e.Evaluate)), nil
}
