package reward

import (
	"context"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// each is a reward that looks at one answer at a time and asks nobody.
type each struct {
	info  Info // of this reward, which its parameters may have changed
	score func(row *sweep.Row, o *sweep.Output) sweep.Value
}

// Info implements Reward.
func (e *each) Info() Info { return e.info }

// Score implements Reward. Once ctx has ended the rest is missing.
func (e *each) Score(ctx context.Context, rows []sweep.Row, outputs []sweep.Output) []sweep.Value {
	values := make([]sweep.Value, len(outputs))
	for i := range outputs {
		if ctx.Err() != nil {
			values[i] = sweep.Missing("stopped before it was judged")
			continue
		}
		values[i] = e.score(&rows[i], &outputs[i])
	}
	return values
}

// simple makes a maker of a reward whose parameters decode into P, starting from defaults. prepare checks them and
// returns the scoring; it may change the info of this reward.
func simple[P any](info Info, defaults P, prepare func(p *P, e Environment, info *Info) (func(row *sweep.Row, o *sweep.Output) sweep.Value, error)) maker {
	return maker{info: info, make: func(parameters []byte, environment Environment) (Reward, error) {
		p := defaults
		if err := sweep.Strict("", parameters, &p); err != nil {
			return nil, err
		}
		reward := &each{info: info}
		score, err := prepare(&p, environment, &reward.info)
		if err != nil {
			return nil, err
		}
		reward.score = score
		return reward, nil
	}}
}

// oneOf refuses a word that is none of some.
func oneOf(field, word string, words ...string) error {
	for _, w := range words {
		if w == word {
			return nil
		}
	}
	return fault.Field(field, "%.40q is none of %q; the nearest is %q", word, words, sweep.Nearest(word, words))
}
