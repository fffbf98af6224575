package runner

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
)

// judging is a sweep that runs: the client of its experiment's generator, which asks for what the plan wants and has
// rewards judge what was decoded. It lives as long as the generator's job does.
type judging struct {
	runner *Runner     // whose sweep it is
	sweep  sweep.Sweep // as it was when it was started, its state too: several goroutines read it

	opening sync.Mutex     // held while rewards are opened
	rewards []reward.Named // set once, by open

	mu     sync.Mutex                            // guards what follows
	values map[sweep.Cell]map[string]sweep.Value // that are kept; nil before they are read; the maps are not changed, but replaced
	plan   sweep.Plan                            // that is worked on
	ended  bool                                  // the sweep has another state by now; of Plan and Finish, one after the other
}

// open opens the rewards, once. It is done here, and not where the sweep is started, so that no sweep keeps the server from
// starting, or another sweep waiting.
func (j *judging) open(ctx context.Context) (err error) {
	j.opening.Lock()
	defer j.opening.Unlock()
	if j.rewards == nil {
		j.rewards, err = j.runner.rewards(ctx, &j.sweep.Setup)
	}
	return err
}

// load reads the values that are kept, once.
func (j *judging) load(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.values != nil {
		return nil
	}
	outputs, err := j.runner.config.Store.Outputs(ctx, j.sweep.ID, nil, false)
	if err != nil {
		return err
	}
	j.values = make(map[sweep.Cell]map[string]sweep.Value, len(outputs))
	for i := range outputs {
		j.values[outputs[i].Cell] = outputs[i].Rewards
	}
	return nil
}

// judged are outputs with their values so far.
func (j *judging) judged(outputs []experiment.Output) []sweep.Output {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]sweep.Output, len(outputs))
	for i := range outputs {
		all[i] = sweep.NewOutput(&outputs[i])
		all[i].Rewards = j.values[all[i].Cell]
	}
	return all
}

// asked are those of the sweep among an experiment's outputs.
func (j *judging) asked(outputs []experiment.Output) []sweep.Output {
	return slices.DeleteFunc(j.judged(outputs), func(o sweep.Output) bool { return !j.sweep.Setup.Asks(&o) })
}

// Plan implements experiment.Client: the items of the next stage whose outputs are not there. What is there and was not
// judged, since the server was stopped in the middle or somebody else had it decoded, is judged now. A sweep of which no
// reward works any more fails.
func (j *judging) Plan(ctx context.Context, outputs []experiment.Output) ([]experiment.Item, error) {
	if err := j.load(ctx); err != nil {
		return nil, err
	}
	if err := j.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, j.fail(ctx, outputs, err)
	}
	if j.sweep.State == sweep.Judging {
		return nil, j.judgeAgain(ctx, j.lacking(j.asked(outputs)))
	}
	// A stage that only lacks values gives no items: when it is judged the next one is looked at.
	for {
		plan, err := sweep.Next(&j.sweep.Setup, j.judged(outputs))
		if err != nil {
			return nil, j.fail(ctx, outputs, err)
		}
		j.mu.Lock()
		j.plan = plan
		j.mu.Unlock()
		if plan.Done {
			return nil, nil
		}
		if err := reward.AllGaveUp(j.rewards); err != nil {
			return nil, j.fail(ctx, outputs, err)
		}
		if err := j.judgeAgain(ctx, plan.Unjudged); err != nil {
			return nil, err
		}
		if len(plan.Items) > 0 && reward.AllGaveUp(j.rewards) == nil {
			return plan.Items, nil
		}
	}
}

// Take implements experiment.Client.
func (j *judging) Take(ctx context.Context, outputs []experiment.Output) error {
	if err := errors.Join(j.load(ctx), j.open(ctx)); err != nil {
		return err
	}
	if err := j.judge(ctx, j.judged(outputs)); err != nil {
		return err
	}
	if j.sweep.State == sweep.Running && reward.AllGaveUp(j.rewards) != nil {
		return experiment.ErrEnough
	}
	return nil
}

// Finish implements experiment.Client: the sweep ends with the report of what there is.
func (j *judging) Finish(ctx context.Context, outputs []experiment.Output) error {
	if j.sweep.State == sweep.Judging {
		return j.end(ctx, outputs, j.sweep.Before, j.sweep.Reason)
	}
	j.mu.Lock()
	reason := j.plan.Reason
	j.mu.Unlock()
	return j.end(ctx, outputs, sweep.Done, reason)
}

// fail ends a sweep that cannot go on.
func (j *judging) fail(ctx context.Context, outputs []experiment.Output, err error) error {
	j.runner.log.Error("a sweep failed", "sweep", j.sweep.ID, "error", err)
	return j.end(ctx, outputs, sweep.Failed, fault.Of(err).Outside())
}

// end moves the sweep to its last state with a report, once. A Conflict says that somebody else has moved it
// meanwhile, and is no error.
func (j *judging) end(ctx context.Context, outputs []experiment.Output, state sweep.State, reason string) error {
	if j.ended {
		return nil
	}
	report, err := j.runner.encode(&j.sweep, j.asked(outputs))
	if err != nil {
		return err
	}
	// Not under Runner.moving, whose holder may wait for this goroutine: the store takes one of two moves.
	if err := j.runner.move(ctx, &j.sweep, state, reason, report); err != nil && fault.KindOf(err) != fault.Conflict {
		return err
	}
	j.ended = true
	return nil
}

// lacking are the cells that a reward has said nothing of, or whose endpoint failed.
func (j *judging) lacking(outputs []sweep.Output) []sweep.Cell {
	var cells []sweep.Cell
	for i := range outputs {
		if slices.ContainsFunc(j.rewards, func(r reward.Named) bool { return j.asks(&r, &outputs[i]) }) {
			cells = append(cells, outputs[i].Cell)
		}
	}
	return cells
}

// asks reports whether a reward is to be asked about an output: it has not said anything of it, or what it asks failed
// and the sweep is judged again.
func (j *judging) asks(r *reward.Named, o *sweep.Output) bool {
	v, said := o.Rewards[r.Name]
	return !o.Failed() && (!said || !v.OK() && j.sweep.State == sweep.Judging && askedOutside(r.Info()))
}

// askedOutside reports whether a reward asks something that may answer another time.
func askedOutside(i reward.Info) bool { return i.Remote || i.Headless }

// judgeAgain has cells judged that were decoded before.
func (j *judging) judgeAgain(ctx context.Context, cells []sweep.Cell) error {
	byPrompt := map[int][]sweep.Cell{}
	for _, c := range cells {
		byPrompt[c.Prompt] = append(byPrompt[c.Prompt], c)
	}
	for _, prompt := range slices.Sorted(maps.Keys(byPrompt)) {
		outputs, err := j.runner.config.Store.ExperimentOutputs(ctx, j.sweep.Experiment, &prompt, true)
		if err != nil {
			return err
		}
		outputs = slices.DeleteFunc(outputs, func(o experiment.Output) bool { return !slices.Contains(byPrompt[prompt], o.Cell) })
		if err := j.judge(ctx, j.judged(outputs)); err != nil {
			return err
		}
	}
	return nil
}

// judge asks each reward for what it has not said of some outputs, and keeps it.
func (j *judging) judge(ctx context.Context, outputs []sweep.Output) error {
	rows := j.sweep.Setup.Config.Prompts.Rows
	var judged []sweep.Judged
	for _, r := range j.rewards {
		var asked []sweep.Output
		var of []sweep.Row
		for i := range outputs {
			if o := &outputs[i]; j.asks(&r, o) {
				asked, of = append(asked, *o), append(of, rows[o.Prompt])
			}
		}
		if len(asked) == 0 {
			continue
		}
		values := r.Score(ctx, of, asked)
		if ctx.Err() != nil { // what it says then is that it was stopped
			return ctx.Err()
		}
		for i := range asked {
			v := sweep.Missing("the reward gave %d values for %d texts", len(values), len(asked))
			if len(values) == len(asked) {
				v = values[i]
			}
			judged = append(judged, sweep.Judged{Cell: asked[i].Cell, Values: map[string]sweep.Value{r.Name: v}})
		}
	}
	if err := j.runner.config.Store.AddValues(ctx, j.sweep.ID, judged); err != nil {
		return err
	}
	j.remember(judged)
	return nil
}

// remember takes over values that are kept.
func (j *judging) remember(judged []sweep.Judged) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, one := range judged {
		values := maps.Clone(j.values[one.Cell])
		if values == nil {
			values = map[string]sweep.Value{}
		}
		maps.Copy(values, one.Values)
		j.values[one.Cell] = values
	}
}
