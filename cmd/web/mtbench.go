package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/mtbench"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
)

// mtbenchCommand is `realign mtbench`.
type mtbenchCommand struct {
	pairFlags
	modelFlags

	Pair        string   `default:"demo" placeholder:"NAME[:ALIGNED]" help:"Pair of models, and its aligned model."`
	Lambda      string   `default:"0,0.5,1,1.5,2" placeholder:"λ,…" help:"Alignment strengths."`
	Questions   string   `required:"" placeholder:"FILE" help:"MT-Bench's file of questions as published: {question_id, category, turns, reference} a line."`
	MaxTokens   int      `default:"1024" help:"Most tokens of a reply."`
	Temperature *float64 `placeholder:"T" help:"Of all replies. Default: 0 for extraction, math, coding and reasoning, 0.1 for stem and humanities, 0.7 for the others."`
	Exact       int      `default:"0" placeholder:"N" help:"Particles of exact λ; needs --temperature 1."`
	Seed        uint64   `default:"0" help:"Seed of the noise that all λ share."`

	JudgeURL   string `name:"judge-url" required:"" placeholder:"URL" help:"The judge's OpenAI-compatible endpoint, up to /v1."`
	JudgeModel string `required:"" placeholder:"NAME" help:"The judge, as its endpoint calls it."`
	JudgeKey   string `placeholder:"VARIABLE" help:"Environment variable that holds the judge's key."`
	Mode       string `enum:"single,pairwise" default:"single" help:"single grades each turn's answer from 1 to 10; pairwise compares conversations with that at λ = 1, in both orders (${enum})."`

	JSON bool `name:"json" help:"Print a JSON line for each question and λ, with texts and scores, and last one with the means."`
}

// Run decodes both turns of all questions, judges them, and prints scores by category over λ.
func (c *mtbenchCommand) Run(ctx context.Context, h env, log *slog.Logger) error {
	requested := requestFlags{Pair: c.Pair}
	p, aligned, err := requested.models(ctx, h, c.pairFlags)
	if err != nil {
		return asFlagError(err)
	}
	lambdas, err := decode.ParseNumbers("--lambda", c.Lambda)
	if err == nil {
		err = c.check(aligned, lambdas)
	}
	if err != nil {
		return asFlagError(err)
	}
	f, err := os.Open(c.Questions)
	if err != nil {
		return fault.Field("--questions", "%v", err)
	}
	defer f.Close()
	questions, err := mtbench.Read(f)
	if err != nil {
		return asFlagError(err)
	}
	judge, err := c.judge(ctx)
	if err != nil {
		return err
	}
	models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
	if err != nil {
		return err
	}
	engine := decode.NewEngine(models, decode.Config{Log: log, Kernel: h.kernel, Speculation: c.speculation()})
	defer engine.Close()
	run := mtbench.Config{
		Aligned: aligned[0], Lambdas: lambdas, Seed: c.Seed, Fixed: c.Temperature != nil,
		Sampling: decode.Sampling{MaxTokens: c.MaxTokens, TopP: 1, Exact: c.Exact},
	}
	given(&run.Sampling.Temperature, c.Temperature)
	var all []mtbench.Answer
	out := json.NewEncoder(h.stdout)
	for i := range questions {
		answers, err := run.Ask(ctx, decodes(engine), i, &questions[i])
		if err != nil {
			return err
		}
		mtbench.Score(ctx, judge, c.Mode == "pairwise", &questions[i], answers)
		if ctx.Err() != nil {
			return errInterrupted
		}
		all = append(all, answers...)
		for k := range answers {
			if c.JSON {
				if err := out.Encode(&answers[k]); err != nil {
					return err
				}
			}
		}
		fmt.Fprintf(h.stderr, "realign: %d of %d questions\n", i+1, len(questions))
	}
	return c.print(h.stdout, mtbench.Table(questions, all))
}

// check refuses what decoding would refuse later.
func (c *mtbenchCommand) check(aligned []string, lambdas []float64) error {
	if len(aligned) != 1 {
		return fault.Field("pair", "%d aligned models are named, where one is judged", len(aligned))
	}
	if c.Mode == "pairwise" && !slices.Contains(lambdas, 1) {
		return fault.Field("lambda", "has no 1, which pairs are compared with")
	}
	if c.Exact > 0 && c.Temperature == nil {
		return fault.Field("exact", "%d needs --temperature 1: the categories' own temperatures are others", c.Exact)
	}
	s := decode.Sampling{MaxTokens: c.MaxTokens, TopP: 1, Exact: c.Exact}
	given(&s.Temperature, c.Temperature)
	for _, l := range lambdas {
		if err := decode.CheckLambda("lambda", decode.Vector{l}, 1); err != nil {
			return err
		}
	}
	if len(lambdas) > decode.MaxLanes {
		return fault.Field("lambda", "%d λ, at most %d", len(lambdas), decode.MaxLanes)
	}
	return s.Validate()
}

// judge opens the judge and asks it a trial question.
func (c *mtbenchCommand) judge(ctx context.Context) (reward.Reward, error) {
	parameters, err := json.Marshal(map[string]any{
		"url": c.JudgeURL, "model": c.JudgeModel, "key": c.JudgeKey, "max_tokens": 2048,
		"mode": map[string]string{"single": "pointwise", "pairwise": "pairwise"}[c.Mode],
	})
	if err != nil {
		return nil, err
	}
	config := sweep.Config{Rewards: []sweep.Reward{{Reward: "judge", Name: "judge", Parameters: parameters}}}
	rewards, err := reward.Open(ctx, &config, reward.Environment{Headless: true, Secret: os.Getenv})
	if err == nil {
		err = reward.Check(ctx, rewards)
	}
	if err != nil {
		return nil, err
	}
	return rewards[0].Reward, nil
}

// decodes runs requests on an engine to their ends.
func decodes(engine *decode.Engine) mtbench.Decode {
	return func(ctx context.Context, r decode.Request) ([]decode.Reply, error) {
		var gather decode.Gather
		job, err := engine.Start(r, gather.Add)
		if err != nil {
			return nil, err
		}
		select {
		case <-job.Done():
		case <-ctx.Done():
			_ = job.Stop(-1)
			<-job.Done()
			return nil, errInterrupted
		}
		replies, ok := gather.Replies(r.Lanes)
		if !ok {
			return nil, fault.New(fault.Internal, "a lane has no end")
		}
		return replies, nil
	}
}

// print prints the means as a table, λ below each other, or as JSON.
func (c *mtbenchCommand) print(w io.Writer, rows []mtbench.Row) error {
	if c.JSON {
		return json.NewEncoder(w).Encode(map[string]any{"rows": finiteRows(rows)})
	}
	categories := slices.Sorted(maps.Keys(rows[0].Categories))
	head, rule := "| λ | all |", "|--:|--:|"
	for i := range rows[0].Turns {
		head += fmt.Sprintf(" turn %d |", i+1)
		rule += "--:|"
	}
	for _, name := range categories {
		head += " " + cmp.Or(name, "–") + " |"
		rule += "--:|"
	}
	text := head + " missing |\n" + rule + "--:|\n"
	for _, row := range rows {
		text += fmt.Sprintf("| %g | %s |", row.Lambda, meanText(row.All))
		for _, m := range row.Turns {
			text += " " + meanText(m) + " |"
		}
		for _, name := range categories {
			text += " " + meanText(row.Categories[name]) + " |"
		}
		text += fmt.Sprintf(" %d |\n", row.All.Missing)
	}
	_, err := io.WriteString(w, text)
	return err
}

// meanText is a mean with its interval, where it has them.
func meanText(m mtbench.Mean) string {
	switch {
	case math.IsNaN(m.Estimate):
		return "–"
	case math.IsNaN(m.Low):
		return fmt.Sprintf("%.2f", m.Estimate)
	}
	return fmt.Sprintf("%.2f [%.2f, %.2f]", m.Estimate, m.Low, m.High)
}

// finiteRows are rows as JSON can hold them: an end that is not known is null.
func finiteRows(rows []mtbench.Row) (all []any) {
	mean := func(m mtbench.Mean) map[string]any {
		known := func(x float64) any {
			if math.IsNaN(x) {
				return nil
			}
			return x
		}
		return map[string]any{"estimate": known(m.Estimate), "low": known(m.Low), "high": known(m.High), "answers": m.Answers, "missing": m.Missing}
	}
	for _, row := range rows {
		turns, categories := []any{}, map[string]any{}
		for _, m := range row.Turns {
			turns = append(turns, mean(m))
		}
		for name, m := range row.Categories {
			categories[name] = mean(m)
		}
		all = append(all, map[string]any{"lambda": row.Lambda, "all": mean(row.All), "turns": turns, "categories": categories})
	}
	return all
}
