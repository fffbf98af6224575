package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"

	"realign/internal/decode"
	"realign/internal/pair"
)

// defaultCells is how many tokens a cache holds where nobody says.
const defaultCells = 8192

// onePass compares the two ways to decode a reference and a LoRA adapter: in one pass of one context, and in two contexts.
// It prints nothing for a pair whose aligned model has weights of its own. stop closes what was opened; it is to be called
// even with an error.
func (c *benchCommand) onePass(ctx context.Context, h env, p *pair.Pair) ([]table, func() error, error) {
	var rigs [2]benchRun
	var models [2]decode.Pair
	var closers []func() error
	stop := func() (err error) {
		for _, f := range closers {
			err = cmp.Or(err, f())
		}
		return err
	}
	for i, mode := range []string{"on", "off"} {
		flags := c.modelFlags
		flags.OnePass = mode
		if len(c.Long) > 0 { // half of a cache is for what is kept of earlier prompts
			flags.Cells = max(cmp.Or(flags.Cells, defaultCells), 2*(slices.Max(c.Long)+c.Tokens+64))
		}
		m, err := h.open(ctx, p, flags, func(float64) {})
		if err != nil {
			return nil, stop, err
		}
		e := decode.NewEngine(m, decode.Config{Kernel: h.kernel})
		closers = append(closers, e.Close)
		models[i], rigs[i] = m, benchRun{ctx: ctx, engine: e, aligned: p.Names()[:1], tokens: c.Tokens}
	}
	var list []timed
	for _, n := range []int{1, 2, 4, 8, 16} {
		one, two := rigs[0].lanes(spread(n), noTrace), rigs[1].lanes(spread(n), noTrace)
		list = append(list, timed{fmt.Sprintf("%d lanes over [0, 2]", n), rigs[0].timing(one), rigs[1].timing(two)})
	}
	list = append(list, timed{"first token after a prompt of 400 tokens", rigs[0].firstToken(""), rigs[1].firstToken("")})
	for _, n := range c.Long {
		after := func(r *benchRun) func() error {
			request := r.lanes([]float64{0.5}, noTrace)
			request.Owner, request.Prompt = "reader", decode.Prompt{Tokens: numbered(n)} // which is read once
			return r.timing(request)
		}
		list = append(list, timed{fmt.Sprintf("one lane, after a history of %d tokens", n), after(&rigs[0]), after(&rigs[1])})
	}
	by, err := adapted(models, p.Names()[0])
	if err != nil || by == nil {
		return nil, stop, err
	}
	weights := func(r *benchRun, lambdas []float64) []decode.Request {
		list := []decode.Request{r.lanes(lambdas, noTrace)}
		list[0].Mix = decode.MixWeights
		return list
	}
	var alone []decode.Request
	for _, l := range spread(8) {
		alone = append(alone, weights(&rigs[1], []float64{l})...)
	}
	mixed := []timed{
		{"8 lanes over [0, 2] in weights ÷ 8 such runs", rigs[1].timing(weights(&rigs[1], spread(8))...), rigs[1].timing(alone...)},
		{"8 lanes over [0, 2] in weights ÷ in logits", rigs[1].timing(weights(&rigs[1], spread(8))...), rigs[1].timing(rigs[1].lanes(spread(8), noTrace))},
		{"λ = 0.5 in weights ÷ in logits", rigs[1].timing(weights(&rigs[1], []float64{0.5})...), rigs[1].timing(rigs[1].lanes([]float64{0.5}, noTrace))},
	}
	return []table{
		{"onepass", "λ in the weights", "one", "other", mixed},
		{"onepass", "passes of an adapter: its strength by row ÷ for the whole context", "by row", "whole", by},
		{"onepass", "one pass ÷ two contexts", "one pass", "two contexts", list}, // after which caches hold prompts
	}, stop, nil
}

// adapted compares bare passes of an adapter in a context in which each row has a strength of its own, and in its own context.
// There are none where the models do not share a context.
func adapted(models [2]decode.Pair, name string) (list []timed, err error) {
	var m [2]decode.Model
	for i := range models {
		if m[i], err = models[i].Aligned(name); err != nil {
			return nil, err
		}
	}
	if _, joint := m[0].(decode.Joint); !joint {
		return nil, nil
	}
	for _, threads := range []int{1, runtime.GOMAXPROCS(0)} {
		for _, n := range []int{1, 2, 8} {
			list = append(list, timed{
				fmt.Sprintf("%d rows, threads: %d", n, threads), series(m[0], threads, n), series(m[1], threads, n),
			})
		}
	}
	return list, nil
}
