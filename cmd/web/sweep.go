package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/intake"
	"realign/internal/pair"
	"realign/internal/store"
	"realign/internal/sweep"
	"realign/internal/sweep/config"
	"realign/internal/sweep/export"
	"realign/internal/sweep/reward"
	"realign/internal/sweep/runner"
	"realign/internal/worker"
)

// sweepCommand is `realign sweep`: a sweep without a server, with its results in a folder.
type sweepCommand struct {
	pairFlags
	modelFlags
	natsFlags

	Config string `required:"" placeholder:"FILE" help:"What to do, in YAML or JSON."`
	Out    string `placeholder:"DIR" help:"Folder for the results, and for what a sweep that was broken off goes on from. Default: the name of the file, here."`

	JudgeAgain bool `help:"Of a sweep that is done: ask endpoints and commands again for what they failed at. Nothing is decoded."`

	Workers bool `default:"true" negatable:"" help:"Start a worker here; without, only those that join decode."`
	JSON    bool `name:"json" help:"Print the ticket as JSON."`
}

// sweepOwner owns what the command line does: nobody on the pages.
const sweepOwner = "command line"

// sweepKey is where a results folder keeps the ID of its sweep.
const sweepKey = "sweep"

// Run does a sweep to its end, or goes on with the one that is in the folder; rewards that were put behind those of one that
// is done judge what it has decoded. Interrupted, it leaves everything so that the
// same command goes on.
func (c *sweepCommand) Run(ctx context.Context, h env, log *slog.Logger) (err error) {
	asked, err := c.read(h)
	if err != nil {
		return err
	}
	if c.Out == "" {
		c.Out = strings.TrimSuffix(filepath.Base(c.Config), filepath.Ext(c.Config)) + "-sweep"
	}
	library := c.library()
	p, err := installedPair(library, asked.Pair)
	if err != nil {
		return err
	}
	if err := checkFolder(c.Out); err != nil {
		return fault.Field("--out", "%s", fault.Of(err).Message)
	}
	db, err := store.Open(ctx, store.Config{Data: c.Out, Exclusive: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	sweepID, err := db.Meta(ctx, sweepKey)
	if fault.KindOf(err) == fault.NotFound {
		sweepID, err = id.New(), nil
	}
	if err != nil {
		return err
	}
	known, err := db.Sweep(ctx, sweepOwner, sweepID)
	var more []sweep.Reward
	switch fault.KindOf(err) {
	case "":
		var ok bool
		if more, ok = added(&known.Setup.Config, asked); !ok {
			return fault.New(fault.Conflict, "the folder %s has the results of another configuration: name another with --out", c.Out)
		}
	case fault.NotFound:
	default:
		return err
	}

	models := pair.Resolver{Library: library, Sums: c.sums()}
	settings, err := c.pool(models, c.Out, h, log)
	if err != nil {
		return err
	}
	if c.Workers {
		settings.Command, settings.Cautious = childCommands(c.pairFlags, c.modelFlags, 64, log)
	}
	if known.State.Ended() && len(more) == 0 && !c.JudgeAgain { // nothing is left to do but to write
		return c.write(ctx, h, db, &known)
	}
	pool, err := worker.NewPool(settings)
	if err != nil {
		return asFlagError(err)
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	if c.NATSListen != "" {
		if _, err := keepToken(c.Out, pool); err != nil {
			return err
		}
	}
	queue, err := pool.Queue(ctx)
	if err != nil {
		return err
	}
	generator := experiment.NewGenerator(experiment.Config{Store: db, Queue: queue, Log: log})
	defer func() { err = errors.Join(err, generator.Close()) }()
	run := runner.New(runner.Config{
		Store: db, Generator: generator, Pairs: models, Log: log,
		Rewards: reward.Environment{Headless: true, Secret: os.Getenv, Cache: db},
	})
	defer func() { err = errors.Join(err, run.Close()) }()
	if err := run.Tidy(ctx); err != nil { // it goes on where it was
		return err
	}
	if known.ID == "" {
		if err := db.SetMeta(ctx, sweepKey, sweepID); err != nil {
			return err
		}
		if _, err := run.Create(ctx, sweepOwner, sweepID, asked); err != nil {
			return err
		}
	}
	switch {
	case len(more) > 0:
		err = run.AddRewards(ctx, sweepOwner, sweepID, more)
	case known.State.Ended() && c.JudgeAgain:
		err = run.JudgeAgain(ctx, sweepOwner, sweepID)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(h.stderr, "sweep of %s: %d prompts, %d λ, results in %s\n", p.Label(), len(asked.Prompts.Rows), len(asked.Lambda.Values), c.Out)
	if err := follow(ctx, h.stderr, run, sweepID); err != nil {
		fmt.Fprintln(h.stderr, "stopped: the same command goes on from here")
		return err
	}
	if known, err = db.Sweep(ctx, sweepOwner, sweepID); err != nil {
		return err
	}
	return c.write(ctx, h, db, &known)
}

// read reads the configuration and the prompts it names, whose path is relative to its folder.
func (c *sweepCommand) read(h env) (*sweep.Config, error) {
	data, err := readFile(c.Config, config.MaxBytes)
	if err != nil {
		return nil, fault.Field("--config", "%v", err)
	}
	if err := intake.Config("--config", data); err != nil {
		return nil, err
	}
	asked, err := config.Parse(data)
	if err != nil {
		return nil, err
	}
	if path := asked.Prompts.Path; path != "" {
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(c.Config), path)
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, fault.Field("prompts", "%v", err)
		}
		defer f.Close()
		set, err := sweep.ReadPrompts(f, path)
		if err != nil {
			return nil, err
		}
		asked.Prompts.Rows = set.Prompts
		for _, note := range set.Notes {
			fmt.Fprintf(h.stderr, "prompts: %s\n", note)
		}
	}
	return asked, asked.Validate()
}

// readFile reads a file of at most so many bytes.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return data, err
}

// added are the rewards that a configuration asks for beyond those of a sweep that was started; it is false where it differs
// in anything else.
func added(started, asked *sweep.Config) (more []sweep.Reward, ok bool) {
	n := len(started.Rewards)
	if len(asked.Rewards) < n {
		return nil, false
	}
	rest := *asked
	rest.Rewards = asked.Rewards[:n]
	return asked.Rewards[n:], same(started, &rest)
}

// same reports whether two configurations ask for the same.
func same(a, b *sweep.Config) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// follow tells of the progress until the sweep has ended, or ctx.
func follow(ctx context.Context, w io.Writer, run *runner.Runner, id string) error {
	const often = 10 * time.Second
	var told time.Time
	stage := -1
	for {
		p, changed, runs := run.Watch(id)
		if !runs {
			return nil
		}
		if time.Since(told) >= often || p.Plan.Stage != stage {
			told, stage = time.Now(), p.Plan.Stage
			fmt.Fprintln(w, progressLine(p))
		}
		select {
		case <-changed:
		case <-time.After(often):
		case <-ctx.Done():
			return errInterrupted
		}
	}
}

// progressLine is how far a sweep is, in a line.
func progressLine(p runner.Progress) string {
	if p.Trouble != "" {
		return "waiting: " + p.Trouble
	}
	parts := []string{fmt.Sprintf("%s: %d samples, %d tokens", p.Plan.Reason, p.Outputs, p.Tokens)}
	if p.Expected > 0 {
		parts = append(parts, fmt.Sprintf("%d%%", min(100, 100*p.Tokens/p.Expected)))
	}
	if p.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%.0f tokens/s", p.Rate))
	}
	if p.Left > 0 {
		parts = append(parts, "about "+p.Left.Round(time.Second).String()+" left")
	}
	if p.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d not decoded", p.Failed))
	}
	if p.Missing > 0 {
		parts = append(parts, fmt.Sprintf("%d values missing", p.Missing))
	}
	if p.Cost > 0 {
		parts = append(parts, fmt.Sprintf("judging cost %.3g", p.Cost))
	}
	return strings.Join(parts, ", ")
}

// write puts the results into the folder and prints the ticket.
func (c *sweepCommand) write(ctx context.Context, h env, db *store.Store, w *sweep.Sweep) error {
	if w.State != sweep.Done {
		return fault.New(fault.Unavailable, "the sweep is %s: %s", w.State, w.Reason)
	}
	var report sweep.Report
	if err := json.Unmarshal(w.Report, &report); err != nil {
		return err
	}
	if report.Recommendation == nil {
		return fault.New(fault.Unavailable, "No best λ found: no answer has a value of %s", report.Objective)
	}
	markdown := report.Recommendation.Markdown()
	ticket, err := json.MarshalIndent(report.Recommendation, "", "  ")
	if err != nil {
		return err
	}
	whole, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"ticket.md": markdown, "ticket.json": string(ticket) + "\n", "report.json": string(whole) + "\n"} {
		if err := os.WriteFile(filepath.Join(c.Out, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, f := range export.Formats() {
		if err := c.export(ctx, db, w, f); err != nil {
			return err
		}
	}
	out := markdown
	if c.JSON {
		out = string(ticket) + "\n"
	}
	_, err = io.WriteString(h.stdout, out)
	return err
}

// export writes all outputs.
func (c *sweepCommand) export(ctx context.Context, db *store.Store, w *sweep.Sweep, f export.Format) (err error) {
	file, err := os.Create(filepath.Join(c.Out, "outputs."+string(f)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out, err := export.New(f, file, &w.Setup)
	if err != nil {
		return err
	}
	return errors.Join(db.EachOutput(ctx, w.ID, nil, true, out.Write), out.Close())
}
