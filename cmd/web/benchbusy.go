package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
)

// busy compares decoding beside programs that keep processors busy, and without them. A model that decodes alone has all threads,
// and so has a prompt.
func (r *benchRun) busy() (list []timed) {
	for _, programs := range slices.Compact([]int{1, runtime.NumCPU()}) {
		for _, work := range []timed{
			{name: "one lane, λ = 0.5", one: r.timing(r.lanes([]float64{0.5}, pageTrace))},
			{name: "one lane, λ = 0", one: r.timing(r.lanes([]float64{0}, pageTrace))},
			{name: "a new prompt of 400 tokens", one: r.firstToken("")},
		} {
			list = append(list, timed{fmt.Sprintf("%s, beside %d", work.name, programs), beside(r.ctx, programs, work.one), work.one})
		}
	}
	return list
}

// beside is work while so many programs keep a processor busy each.
func beside(ctx context.Context, programs int, work func() error) func() error {
	return func() error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		for range programs {
			busy := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
			if err := busy.Start(); err != nil {
				return err
			}
			defer busy.Wait() // killed by stop, which runs first
			defer stop()
		}
		return work()
	}
}

// starts compares processes that load the pair, measure what is faster, and decode, whose threads wait in place for each other as
// this program has them do and as libgomp does by default (waiting.c). There are none where it has no say in that.
func (c *benchCommand) starts(ctx context.Context, h env) (list []timed) {
	if os.Getenv("GOMP_SPINCOUNT") == "" {
		return nil
	}
	short := *c
	short.Prompt = 40
	process := func(environment ...string) func() error {
		return func() error {
			_, err := short.footprint(ctx, h, c.modelFlags, false, environment...)
			return err
		}
	}
	for _, programs := range slices.Compact([]int{0, 1, runtime.NumCPU()}) {
		list = append(list, timed{
			fmt.Sprintf("one lane, λ = 0.5, beside %d", programs),
			beside(ctx, programs, process()), beside(ctx, programs, process("GOMP_SPINCOUNT=300000")),
		})
	}
	return list
}
