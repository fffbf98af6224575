package main

import (
	"fmt"

	"realign/internal/decode"
)

// exactPrompts are what the cost of exact λ is measured on.
var exactPrompts = []string{
	"What did you think of the film?", "How was your day?", "Tell me about your new job.", "I failed my exam.", "What should I cook tonight?",
	"My neighbour is very loud.", "Is it going to rain tomorrow?", "I finally finished my book.", "Can you recommend a museum?", "We are moving to another town.",
	"Why is the sky blue?", "I have a headache.",
}

// exactCost is what requests cost and told, in sum.
type exactCost struct {
	rows, replyRows int64   // over both models: all, and without those of the prompts
	changed         int     // replies that particles changed
	resampled       int     // how often particles were resampled
	size            float64 // effective sample sizes
	lanes           int     // how many replies the sums are over
}

// exact measures what lanes with so many particles cost, 0 being none, on all prompts under some seeds.
func (r *benchRun) exact(lambda float64, particles, seeds int) (c exactCost, err error) {
	for _, prompt := range exactPrompts {
		for seed := range uint64(seeds) {
			request := decode.Request{
				Aligned: r.aligned, Prompt: decode.Prompt{Messages: []decode.Message{{Role: "user", Content: prompt}}}, Seed: seed, Trace: noTrace,
				Sampling: decode.Sampling{MaxTokens: r.tokens, Temperature: 1, TopP: 1, Exact: particles},
				Lanes:    []decode.Lane{{Lambda: decode.Vector{lambda}}},
			}
			job, err := r.engine.Start(request, func(e decode.Event) {
				switch {
				case e.Stats != nil:
					for _, n := range e.Stats.Rows {
						c.rows += n
						c.replyRows += n - int64(e.Stats.PromptTokens)
					}
				case e.Exact != nil:
					c.size += e.Exact.Size
					c.resampled += e.Exact.Resampled
					if e.Exact.Changed {
						c.changed++
					}
				}
			})
			if err != nil {
				return c, err
			}
			<-job.Done()
			c.lanes++
		}
	}
	return c, r.ctx.Err()
}

// printExact prints what exact λ costs in decoded rows, over a lane without particles.
func (r *benchRun) printExact(h env, numbers []int, seeds int) error {
	fmt.Fprintf(h.stdout, "\n| exact λ ÷ one lane, %d replies | rows | without the prompt's | effective size | resampled | changed |\n|---|--:|--:|--:|--:|--:|\n", seeds*len(exactPrompts))
	for _, lambda := range []float64{0.25, 0.5, 1.5} {
		one, err := r.exact(lambda, 0, seeds)
		if err != nil {
			return err
		}
		for _, particles := range numbers {
			c, err := r.exact(lambda, particles, seeds)
			if err != nil {
				return err
			}
			n := float64(c.lanes)
			fmt.Fprintf(h.stdout, "| λ = %g, N = %d | %.2f | %.2f | %.1f | %.2f | %.0f%% |\n", lambda, particles, float64(c.rows)/float64(one.rows),
				float64(c.replyRows)/float64(one.replyRows), c.size/n, float64(c.resampled)/n, 100*float64(c.changed)/n)
		}
	}
	return nil
}
