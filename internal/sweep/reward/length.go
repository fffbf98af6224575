package reward

import (
	"math"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/sweep"
)

// lengthParameters are those of length, as its Schema describes them.
type lengthParameters struct {
	Low  float64 `json:"low"`  // shortest length inside the band, in units
	High float64 `json:"high"` // longest length inside the band
	Fall float64 `json:"fall"` // what each unit outside costs
	Unit string  `json:"unit"` // tokens, words or characters
}

// length is the toy of Liu et al. (2024, §5.1), a reward for lengths in a range, with a slope on either side: 1 inside,
// less by a fixed amount for each unit outside, not below −1. With the defaults it is the reward that the length
// models of the demo pair were trained by.
func length() maker {
	return simple(Info{
		Name: "length", Title: "Length in a band", Direction: sweep.Higher,
		About: "1 for an answer of low to high units, less by fall for each unit outside, not below −1.",
		Schema: []Parameter{
			{"low", "shortest length inside the band", "24"},
			{"high", "longest length inside the band", "32"},
			{"fall", "what each unit outside costs", "0.1"},
			{"unit", "tokens (without the end token), words or characters", "tokens"},
		},
	}, lengthParameters{24, 32, 0.1, "tokens"}, func(p *lengthParameters, _ Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		switch {
		case !(p.Low >= 0) || p.Low > 1e6:
			return nil, fault.Field("low", "%g is not from 0 to 1000000", p.Low)
		case !(p.High >= p.Low) || p.High > 1e6:
			return nil, fault.Field("high", "%g is not from low, %g, to 1000000", p.High, p.Low)
		case !(p.Fall > 0) || p.Fall > 2:
			return nil, fault.Field("fall", "%g is not above 0 and up to 2", p.Fall)
		}
		if err := oneOf("unit", p.Unit, "tokens", "words", "characters"); err != nil {
			return nil, err
		}
		return func(_ *sweep.Row, o *sweep.Output) sweep.Value {
			n := 0.0
			switch p.Unit {
			case "tokens":
				n = float64(spoken(o))
			case "words":
				n = float64(len(words(o.Text)))
			default:
				n = float64(utf8.RuneCountInString(o.Text))
			}
			return sweep.Of(max(-1, 1-p.Fall*max(p.Low-n, n-p.High, 0)))
		}, nil
	})
}

// spoken is how many tokens the text has: a lane that stopped decoded one more, which ended it.
func spoken(o *sweep.Output) int {
	if o.Finish == decode.EndStop {
		return max(0, o.Tokens-1)
	}
	return o.Tokens
}

// implicitParameters are those of the implicit reward: β of its training.
type implicitParameters struct {
	Beta float64 `json:"beta"`
}

// implicit is the reward that a model trained with β is optimal for, up to a constant of the prompt (Rafailov et al.
// 2023, eq. 5): it takes no judge, since the trace has both log-probabilities.
func implicit() maker {
	return simple(Info{
		Name: "implicit", Title: "Implicit reward", Direction: sweep.Higher,
		About:  "β·log π_al(answer)/π_ref(answer), the reward that the aligned model is optimal for, from the trace.",
		Schema: []Parameter{{"beta", "β of the aligned model; without it the pair's", ""}},
	}, implicitParameters{}, func(p *implicitParameters, e Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		if p.Beta == 0 {
			p.Beta = e.Beta
		}
		if !(p.Beta > 0) || math.IsInf(p.Beta, 0) {
			return nil, fault.Field("beta", "is needed: nobody says which β the aligned model was trained with")
		}
		return func(_ *sweep.Row, o *sweep.Output) sweep.Value {
			if o.Untraced {
				return sweep.Missing("the log-probabilities of this output were not kept when it was decoded")
			}
			return sweep.Of(p.Beta * (o.LogpAligned - o.LogpReference))
		}, nil
	})
}
