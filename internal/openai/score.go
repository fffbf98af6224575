package openai

import (
	"realign/internal/decode"
	"realign/internal/fault"
)

// ScoreAnswer answers POST /v1/score: prompts under a whole grid of λ, for the price of one reading.
type ScoreAnswer struct {
	Object string          `json:"object"` // list
	Model  string          `json:"model"`  // as the call named it
	Lambda []decode.Vector `json:"lambda"` // the grid; its order is that of the lists in Data
	Data   []ScoredPrompt  `json:"data"`   // by prompt
	Usage  Usage           `json:"usage"`  // prompts only: nothing is decoded
}

// ScoredPrompt is one prompt. Log-probabilities are natural, before temperature and truncation, and no token's is
// below −9999.
type ScoredPrompt struct {
	Object  string         `json:"object"`         // score
	Index   int            `json:"index"`          // of the prompt in the call
	Tokens  []decode.Token `json:"tokens"`         // of the whole prompt, those that do not count included
	Greedy  []bool         `json:"greedy"`         // for each λ: whether every counted token was the most probable one
	Logprob []float64      `json:"logprobs"`       // for each λ: sum over the counted tokens
	ByToken [][]float64    `json:"token_logprobs"` // for each λ: each counted token
}

// ScoreCall is the body of POST /v1/score.
type ScoreCall struct {
	Call *Call
	From int // the first token that counts, from 1; the one before it is the last of the context
}

// ParseScore reads {"model", "prompt", "lambda", "from"}. Without λ the grid is grid; the first token never counts, as
// nothing stands before it.
// Errors are Invalid, with the field, or those of resolve.
func ParseScore(data []byte, resolve Resolve, grid []float64) (*ScoreCall, error) {
	b, err := parseBody(data)
	if err != nil {
		return nil, err
	}
	c := &Call{N: 1, Logprobs: -1, PromptLogprobs: 0, Sampling: decode.DefaultSampling()}
	c.Sampling.MaxTokens = 0
	c.Name = b.text("model")
	m, err := ParseModel(c.Name)
	if b.err != nil || err != nil {
		return nil, first(b.err, err)
	}
	known, err := resolve(m)
	if err != nil {
		return nil, err
	}
	c.Pair, c.Aligned = m.Pair, known.Aligned
	switch c.Lambda = b.lambdas(c.Aligned, len(c.Aligned)); {
	case c.Lambda != nil:
	case m.Lambda != nil:
		c.Lambda = []decode.Vector{m.Lambda}
	case len(c.Aligned) == 1:
		for _, l := range grid {
			c.Lambda = append(c.Lambda, decode.Vector{l})
		}
	default:
		b.fail("lambda", "is missing: with %d aligned models there is no default", len(c.Aligned))
	}
	if len(c.Lambda) > decode.MaxEvaluate {
		b.fail("lambda", "%d λ, at most %d", len(c.Lambda), decode.MaxEvaluate)
	}
	c.Prompts = b.prompts()
	s := &ScoreCall{Call: c, From: 1}
	if b.whole("from", &s.From); s.From < 1 {
		b.fail("from", "%d is not at least 1: the first token has nothing before it", s.From)
	}
	return s, b.finish()
}

// first is the first of the errors that is not nil; nil where all are.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Score is the answer, once every prompt is scored. A From behind a prompt's end is Invalid.
func (r *Reply) Score(from int) (ScoreAnswer, error) {
	a := ScoreAnswer{Object: "list", Model: r.Call.Name, Lambda: r.Call.Lambda}
	for p, scores := range r.scores {
		tokens := r.started[p].Tokens
		if from >= len(tokens) {
			return a, fault.Field("from", "%d is behind the %d tokens of prompt %d", from, len(tokens), p)
		}
		one := ScoredPrompt{Object: "score", Index: p, Tokens: tokens}
		for k := range r.Call.Lambda {
			sum, greedy, by := 0.0, true, []float64{}
			for _, s := range scores[from-1 : len(tokens)-1] {
				x := logprob(s.Mixture[k])
				sum += x
				by = append(by, x)
				greedy = greedy && len(s.Top[k]) > 0 && s.Top[k][0].ID == s.ID
			}
			one.Logprob, one.Greedy, one.ByToken = append(one.Logprob, sum), append(one.Greedy, greedy), append(one.ByToken, by)
		}
		a.Data = append(a.Data, one)
		a.Usage.Prompt += len(tokens)
	}
	a.Usage.Total = a.Usage.Prompt
	return a, nil
}
