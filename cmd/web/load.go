package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"realign/internal/load"
)

// loadCommand is a load test: it plays people who use servers.
type loadCommand struct {
	Server     []string      `default:"http://127.0.0.1:8080" sep:"," placeholder:"URL,…" help:"Servers, which people use in turn."`
	For        time.Duration `default:"30s" help:"How long everybody is there."`
	Idle       int           `placeholder:"N" help:"Browsers that have a page open and do nothing."`
	Runners    int           `placeholder:"N" help:"Browsers that start one run after the other."`
	Elsewhere  bool          `help:"Watch the runs on another server, too, and measure how much later events come there."`
	Programs   int           `placeholder:"N" help:"Programs that call the API, one call after the other."`
	Annotators int           `placeholder:"N" help:"People who rate a study."`
	Rate       string        `placeholder:"/rate/TOKEN" help:"Path of the link by which annotators join the study."`
	Key        string        `placeholder:"KEY" help:"Key of the API."`
	Pair       string        `default:"demo" placeholder:"NAME" help:"Pair to decode."`
	Lanes      int           `default:"2" help:"Lanes of a run."`
	Tokens     int           `default:"40" help:"Tokens of a lane, or of a call."`
	Think      time.Duration `default:"0s" help:"Pause between what a runner or an annotator does."`
	JSON       bool          `name:"json" help:"Print one JSON object."`
}

// Run plays everybody and prints what was measured.
func (c *loadCommand) Run(ctx context.Context, h env) error {
	report, err := load.Run(ctx, load.Config{
		Servers: c.Server, For: c.For, Idle: c.Idle, Runners: c.Runners, Elsewhere: c.Elsewhere, Programs: c.Programs, Annotators: c.Annotators,
		Rate: c.Rate, Key: c.Key, Pair: c.Pair, Lanes: c.Lanes, Tokens: c.Tokens, Think: c.Think,
	})
	if err != nil {
		return asFlagError(err)
	}
	if c.JSON {
		return json.NewEncoder(h.stdout).Encode(report)
	}
	printLoad(h.stdout, &report)
	return nil
}

// printLoad shows a report as a table; what nobody did is left out.
func printLoad(to io.Writer, r *load.Report) {
	fmt.Fprintf(to, "%-34s %8s %9s %9s %9s %9s %9s\n", "", "count", "a second", "median", "95%", "99%", "failures")
	for _, line := range []struct {
		what string
		load.Summary
	}{
		{"sockets opened, with their page", r.Opened}, {"runs, to the first event", r.First}, {"runs, to the end", r.Runs},
		{"events, later on another server", r.Later}, {"calls of the API", r.Calls}, {"ratings, to the next question", r.Ratings},
	} {
		if line.Count+line.Failures == 0 {
			continue
		}
		ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
		fmt.Fprintf(to, "%-34s %8d %9.1f %9s %9s %9s %9d\n", line.what, line.Count, line.PerSecond, ms(line.Median), ms(line.P95), ms(line.P99), line.Failures)
		if line.Failures > 0 {
			fmt.Fprintf(to, "    mostly: %s\n", line.MostCommonFailures)
		}
	}
	fmt.Fprintf(to, "%.0f tokens a second\n", float64(r.Tokens)/r.Took.Seconds())
	for _, s := range r.Servers {
		fmt.Fprintf(to, "%s: %.2f s of processors in %.0f s, %.0f MiB, %.0f sockets\n", s.Address, s.Seconds, r.Took.Seconds(), s.Memory/(1<<20), s.Sockets)
	}
}
