package main

import (
	"fmt"
	"slices"

	"realign/internal/decode"
)

// kernels compares a kernel of this program with its plain twin, for prompts of so many tokens and for tokens after them. use says which
// to use, and is nil where there is one only; usual: what everything else has.
func (r *benchRun) kernels(use func(bool), usual bool, lengths []int) (list []timed) {
	if use == nil {
		return nil
	}
	with := func(own bool, requests ...decode.Request) func() error {
		return func() error {
			use(own)
			defer use(usual)
			return r.run(requests...)
		}
	}
	for _, n := range lengths {
		first := r.lanes([]float64{0.5}, noTrace)
		first.Prompt, first.Sampling.MaxTokens = decode.Prompt{Tokens: numbered(n)}, 1
		list = append(list, timed{fmt.Sprintf("first token after a prompt of %d tokens", n), with(true, first), with(false, first)})
		for _, lanes := range []int{1, 8} { // that part at once: rows are shared where texts are equal, which a rounding may decide
			after := r.lanes(slices.Repeat([]float64{0.5}, lanes), noTrace)
			for i := range after.Lanes {
				after.Lanes[i].Sample = i
			}
			after.Owner, after.Prompt, after.Sampling.Temperature = fmt.Sprint("reader ", n), decode.Prompt{Tokens: numbered(n)}, 2 // the prompt is read once
			list = append(list, timed{fmt.Sprintf("lanes: %d, after a history of %d tokens", lanes, n), with(true, after), with(false, after)})
		}
	}
	return list
}

// histories are the lengths that --prompt and --long ask for.
func (c *benchCommand) histories() []int {
	all := append([]int{c.Prompt}, c.Long...)
	slices.Sort(all)
	return slices.Compact(all)
}
