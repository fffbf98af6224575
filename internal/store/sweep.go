package store

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/sweep"
)

// sweepRow is a sweep.Sweep. Setup, Added and Report are JSON; times are microseconds since 1970; EndedAt is nil
// unless it has ended, and EndedAs the state that a sweep which is judged again goes back to.
type sweepRow struct {
	bun.BaseModel `bun:"table:sweeps,alias:w"`

	ID         string  `bun:"id,pk"`
	Owner      string  `bun:"owner"`
	Instance   string  `bun:"instance"`
	Experiment string  `bun:"experiment_id"`
	Name       string  `bun:"name"`
	Pair       string  `bun:"pair"`
	Aligned    string  `bun:"aligned"`
	Prompts    int     `bun:"prompts"`
	Setup      string  `bun:"setup"` // as it was started
	Added      string  `bun:"added"` // rewards, since
	State      string  `bun:"state"`
	EndedAs    string  `bun:"ended_as"`
	Reason     string  `bun:"reason"`
	Report     *string `bun:"report"`
	CreatedAt  int64   `bun:"created_at"`
	EndedAt    *int64  `bun:"ended_at"`
	Outputs    int     `bun:"outputs,scanonly"`
}

// head is the sweep without its setup.
func (r *sweepRow) head() sweep.Sweep {
	s := sweep.Sweep{
		ID: r.ID, Owner: r.Owner, Instance: r.Instance, Experiment: r.Experiment, State: sweep.State(r.State), Before: sweep.State(r.EndedAs),
		Reason: r.Reason, Created: fromMicros(&r.CreatedAt), Ended: fromMicros(r.EndedAt),
	}
	if r.Report != nil {
		s.Report = json.RawMessage(*r.Report)
	}
	return s
}

// sweep is the whole sweep. Without a setup of its own it gets the one that is known.
func (r *sweepRow) sweep(known sweep.Setup) (sweep.Sweep, error) {
	s := r.head()
	s.Setup = known
	if r.Setup != "" {
		if err := json.Unmarshal([]byte(r.Setup), &s.Setup); err != nil {
			return s, fault.Wrap(err, fault.Internal, "sweep %s cannot be read", r.ID)
		}
	}
	var added []sweep.Added
	if err := fromJSON(r.Added, &added); err != nil {
		return s, err
	}
	if len(added) > 0 {
		s.Setup.Add(added)
	}
	return s, nil
}

// sweepPromptRow is what the table of a sweep shows and searches of a prompt.
type sweepPromptRow struct {
	bun.BaseModel `bun:"table:sweep_prompts,alias:p"`

	SweepID   string `bun:"sweep_id,pk"`
	Prompt    int    `bun:"prompt,pk"`
	Beginning string `bun:"beginning"`
	Fold      string `bun:"fold"`
	Category  string `bun:"category"`

	Mean *float64 `bun:"mean,scanonly"` // that a table is sorted by
}

// beginningLength is how many characters of a prompt a table shows.
const beginningLength = 300

// valueRow is what a reward said of a cell. Value is nil where it said nothing, and Missing then says why.
type valueRow struct {
	bun.BaseModel `bun:"table:sweep_values,alias:v"`

	SweepID string   `bun:"sweep_id,pk"`
	Reward  string   `bun:"reward,pk"`
	Prompt  int      `bun:"prompt,pk"`
	Lambda  float64  `bun:"lambda,pk"`
	Sample  int      `bun:"sample,pk"`
	Value   *float64 `bun:"value"`
	Missing string   `bun:"missing"`
	Cost    float64  `bun:"cost"` // as in sweep.Value
}

// value is the row as the domain has it.
func (v *valueRow) value() sweep.Value {
	value := sweep.Value{Missing: v.Missing, Cost: v.Cost}
	if v.Value != nil {
		value.Value = *v.Value
	}
	return value
}

// bulk is how many rows one statement inserts.
const bulk = 500

// insertNew inserts rows, in several statements, but for those whose key is there already. It returns how many.
func insertNew[T any](ctx context.Context, tx bun.IDB, rows []T) (added int, err error) {
	for len(rows) > 0 {
		part := rows[:min(len(rows), bulk)]
		rows = rows[len(part):]
		result, err := tx.NewInsert().Model(&part).On("CONFLICT DO NOTHING").Exec(ctx)
		if err != nil {
			return added, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return added, err
		}
		added += int(n)
	}
	return added, nil
}

// CreateSweep adds a sweep, with an experiment of the same id where it is about that one.
func (s *Store) CreateSweep(ctx context.Context, w sweep.Sweep) error {
	setup, err := json.Marshal(w.Setup)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the sweep cannot be written as JSON")
	}
	config := &w.Setup.Config
	rows := make([]sweepPromptRow, len(config.Prompts.Rows))
	for i, row := range config.Prompts.Rows {
		beginning := []rune(row.Text)
		beginning = beginning[:min(len(beginning), beginningLength)]
		rows[i] = sweepPromptRow{
			SweepID: w.ID, Prompt: i, Beginning: noZeros(string(beginning)), Fold: fold(row.Text), Category: noZeros(row.Category),
		}
	}
	err = s.tx(ctx, func(tx bun.Tx) error {
		if w.Experiment == w.ID {
			err := createExperiment(ctx, tx, &experiment.Experiment{ID: w.ID, Owner: w.Owner, Setup: w.Setup.Experiment(), Created: w.Created})
			if err != nil {
				return err
			}
		}
		_, err := tx.NewInsert().Model(&sweepRow{
			ID: w.ID, Owner: w.Owner, Instance: w.Instance, Experiment: w.Experiment, Name: noZeros(config.Name), Pair: config.Pair,
			Aligned: w.Setup.Aligned, Prompts: len(rows), Setup: string(setup), Added: "[]", State: string(w.State), Reason: noZeros(w.Reason),
			CreatedAt: w.Created.UnixMicro(),
		}).Exec(ctx)
		if err == nil {
			_, err = insertNew(ctx, tx, rows)
		}
		return err
	})
	return wrap(err, "create sweep %s", w.ID)
}

// Sweep is one of an owner's sweeps, without its outputs.
func (s *Store) Sweep(ctx context.Context, owner, id string) (sweep.Sweep, error) {
	return s.oneSweep(ctx, id, s.read.NewSelect().Where("w.owner = ?", owner))
}

// oneSweep is the sweep of an id. What never changes of its setup is not read again.
func (s *Store) oneSweep(ctx context.Context, id string, query *bun.SelectQuery) (sweep.Sweep, error) {
	var row sweepRow
	query.Model(&row).Where("w.id = ?", id)
	setup, known := s.setups.Get(id)
	if known {
		query.ExcludeColumn("setup")
	}
	if err := query.Scan(ctx); err != nil {
		return sweep.Sweep{}, wrap(notFound(err, "sweep"), "read sweep %s", id)
	}
	if !known {
		if err := fromJSON(row.Setup, &setup); err != nil {
			return sweep.Sweep{}, err
		}
		s.setups.Put(id, setup)
		row.Setup = ""
	}
	return row.sweep(setup)
}

// OpenSweeps are those of an instance that have not ended, of any owner, the oldest first.
func (s *Store) OpenSweeps(ctx context.Context, instance string) ([]sweep.Sweep, error) {
	var rows []sweepRow
	err := s.read.NewSelect().Model(&rows).Where("w.instance = ? AND w.ended_at IS NULL", instance).OrderExpr("w.created_at, w.id").Scan(ctx)
	if err != nil {
		return nil, wrap(err, "list open sweeps")
	}
	sweeps := make([]sweep.Sweep, len(rows))
	for i := range rows {
		if sweeps[i], err = rows[i].sweep(sweep.Setup{}); err != nil {
			return nil, err
		}
	}
	return sweeps, nil
}

// Sweeps lists an owner's sweeps, the newest first, a page after a cursor ("" is the first). next is "" at the end.
func (s *Store) Sweeps(ctx context.Context, owner, after string, limit int) (list []sweep.Summary, next string, err error) {
	query := s.read.NewSelect().Model((*sweepRow)(nil)).ExcludeColumn("setup", "added", "report").Where("w.owner = ?", owner).
		ColumnExpr("(SELECT COUNT(*) FROM experiment_outputs AS c WHERE c.experiment_id = w.experiment_id) AS outputs").
		OrderExpr("w.created_at DESC, w.id DESC").Limit(int64(limit) + 1)
	if after != "" {
		at, id, err := parseCursor(after)
		if err != nil {
			return nil, "", err
		}
		query.Where("(w.created_at < ? OR w.created_at = ? AND w.id < ?)", at, at, id)
	}
	var rows []sweepRow
	if err := query.Scan(ctx, &rows); err != nil {
		return nil, "", wrap(err, "list sweeps")
	}
	for i, r := range rows {
		if i == limit {
			return list, cursor(rows[i-1].CreatedAt, rows[i-1].ID), nil
		}
		if r.Experiment != r.ID { // what was decoded for others is not its own
			w, err := s.anySweep(ctx, r.ID)
			if err != nil {
				return nil, "", err
			}
			count := asked(s.read.NewSelect().TableExpr("experiment_outputs AS x").Where("x.experiment_id = ?", r.Experiment), &w)
			n, err := count.Count(ctx)
			if err != nil {
				return nil, "", wrap(err, "count outputs of sweep %s", r.ID)
			}
			r.Outputs = int(n)
		}
		list = append(list, sweep.Summary{
			ID: r.ID, Name: r.Name, Pair: r.Pair, Aligned: r.Aligned, State: sweep.State(r.State), Reason: r.Reason,
			Prompts: r.Prompts, Outputs: r.Outputs, Created: fromMicros(&r.CreatedAt), Ended: fromMicros(r.EndedAt),
		})
	}
	return list, "", nil
}

// MoveSweep takes a sweep from one state to another, which is a Conflict where it is not in the first. A state in
// which it has ended sets the time; a report, unless nil, is kept.
func (s *Store) MoveSweep(ctx context.Context, id string, from, to sweep.State, reason string, at time.Time, report []byte) error {
	query := s.write.NewUpdate().Model((*sweepRow)(nil)).Set("state = ?", string(to)).Set("reason = ?", noZeros(reason)).
		Where("id = ? AND state = ?", id, string(from))
	switch {
	case to.Ended():
		query.Set("ended_at = ?", at.UnixMicro())
	case to == sweep.Judging:
		query.Set("ended_at = NULL").Set("ended_as = ?", string(from))
	}
	if report != nil {
		query.Set("report = ?", string(report))
	}
	result, err := query.Exec(ctx)
	err = changed(result, err, "sweep")
	if fault.KindOf(err) == fault.NotFound {
		return fault.New(fault.Conflict, "the sweep is not %s any more", from)
	}
	return err
}

// AddRewards adds to what a sweep is judged by.
func (s *Store) AddRewards(ctx context.Context, owner, id string, added []sweep.Added) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		var row sweepRow
		query := tx.NewSelect().Model(&row).Column("added").Where("w.owner = ? AND w.id = ?", owner, id)
		if !s.sqlite {
			query.For("UPDATE")
		}
		if err := query.Scan(ctx); err != nil {
			return notFound(err, "sweep")
		}
		var all []sweep.Added
		if err := fromJSON(row.Added, &all); err != nil {
			return err
		}
		text, err := toJSON(append(all, added...))
		if err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*sweepRow)(nil)).Set("added = ?", text).Where("id = ?", id).Exec(ctx)
		return err
	})
	return wrap(err, "add rewards to sweep %s", id)
}

// DeleteSweep removes a sweep that has ended, with all that it has, for good; the experiment, too, unless something else is
// about it.
func (s *Store) DeleteSweep(ctx context.Context, owner, id string) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		var row sweepRow
		if err := tx.NewSelect().Model(&row).Column("experiment_id", "ended_at").Where("w.owner = ? AND w.id = ?", owner, id).Scan(ctx); err != nil {
			return notFound(err, "sweep")
		}
		if row.EndedAt == nil {
			return fault.New(fault.Conflict, "the sweep goes on: cancel it first")
		}
		if _, err := tx.NewDelete().Model((*sweepRow)(nil)).Where("id = ?", id).Exec(ctx); err != nil {
			return err
		}
		return dropUnused(ctx, tx, row.Experiment)
	})
	return wrap(err, "delete sweep %s", id)
}

// AddValues keeps what rewards said of cells. A value replaces one that was missing; what they have said already stays.
func (s *Store) AddValues(ctx context.Context, id string, judged []sweep.Judged) error {
	var rows []valueRow
	for _, j := range judged {
		for reward, v := range j.Values {
			row := valueRow{
				SweepID: id, Reward: noZeros(reward), Prompt: j.Prompt, Lambda: j.Lambda, Sample: j.Sample, Missing: noZeros(v.Missing), Cost: v.Cost,
			}
			if v.OK() {
				row.Value = &v.Value
			}
			rows = append(rows, row)
		}
	}
	err := s.tx(ctx, func(tx bun.Tx) error {
		for part := range slices.Chunk(rows, bulk) {
			_, err := tx.NewInsert().Model(&part).On("CONFLICT (sweep_id, reward, prompt, lambda, sample) DO UPDATE").
				Set("value = EXCLUDED.value, missing = EXCLUDED.missing, cost = v.cost + EXCLUDED.cost").Where("v.value IS NULL").Exec(ctx)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return wrap(err, "keep values of sweep %s", id)
}

// Outputs reads the outputs of a sweep with their values, in the order of their cells: of all prompts, or of one. Without
// texts they take much less room.
func (s *Store) Outputs(ctx context.Context, id string, prompt *int, texts bool) ([]sweep.Output, error) {
	var outputs []sweep.Output
	err := s.EachOutput(ctx, id, prompt, texts, func(o sweep.Output) error {
		outputs = append(outputs, o)
		return nil
	})
	return outputs, err
}

// outputsAtOnce is how many outputs EachOutput has in memory.
const outputsAtOnce = 500

// EachOutput is Outputs one by one. An error of f ends it. No connection to the database is held while f works or while
// another is waited for: many may read at once, and f may read, too.
func (s *Store) EachOutput(ctx context.Context, id string, prompt *int, texts bool, f func(sweep.Output) error) error {
	w, err := s.anySweep(ctx, id)
	if err != nil {
		return err
	}
	var rewards []string // of which there are values
	err = s.read.NewSelect().Model((*valueRow)(nil)).ColumnExpr("DISTINCT v.reward").Where("v.sweep_id = ?", id).Scan(ctx, &rewards)
	if err != nil {
		return wrap(err, "read values of sweep %s", id)
	}
	var after *sweep.Cell
	for {
		outputs, err := s.outputsAfter(ctx, &w, rewards, after, prompt, texts)
		if err != nil {
			return wrap(err, "read outputs of sweep %s", id)
		}
		for _, o := range outputs {
			if !w.Setup.Asks(&o) {
				continue
			}
			if err := f(o); err != nil {
				return wrap(err, "read outputs of sweep %s", id)
			}
		}
		if len(outputs) < outputsAtOnce {
			return nil
		}
		after = &outputs[len(outputs)-1].Cell
	}
}

// outputsAfter are the next outputs of a sweep's experiment behind a cell, or the first, with the sweep's values of rewards.
func (s *Store) outputsAfter(
	ctx context.Context, w *sweep.Sweep, rewards []string, after *sweep.Cell, prompt *int, texts bool,
) ([]sweep.Output, error) {
	var rows []outputRow
	cells := s.outputRows(w.Experiment, prompt, texts).Limit(outputsAtOnce)
	values := s.read.NewSelect().Where("v.sweep_id = ?", w.ID).OrderExpr("v.prompt, v.lambda, v.sample")
	if after != nil {
		cells.Where("(c.prompt, c.lambda, c.sample) > (?, ?, ?)", after.Prompt, after.Lambda, after.Sample)
		values.Where("(v.prompt, v.lambda, v.sample) > (?, ?, ?)", after.Prompt, after.Lambda, after.Sample)
	}
	if err := cells.Scan(ctx, &rows); err != nil || len(rows) == 0 {
		return nil, err
	}
	outputs := make([]sweep.Output, len(rows))
	for i := range rows {
		made, err := rows[i].output()
		if err != nil {
			return nil, err
		}
		outputs[i] = sweep.NewOutput(&made)
	}
	if len(rewards) == 0 {
		return outputs, nil
	}
	last := outputs[len(outputs)-1].Cell
	values.Where("v.reward IN (?)", bun.List(rewards)).Where("(v.prompt, v.lambda, v.sample) <= (?, ?, ?)", last.Prompt, last.Lambda, last.Sample)
	if prompt != nil {
		values.Where("v.prompt = ?", *prompt)
	}
	var found []valueRow
	if err := values.Model(&found).Scan(ctx); err != nil {
		return nil, err
	}
	addValues(outputs, found)
	return outputs, nil
}

// addValues adds values to their outputs. Both are in the order of their cells.
func addValues(outputs []sweep.Output, values []valueRow) {
	i := 0
	for _, v := range values {
		cell := sweep.Cell{Prompt: v.Prompt, Lambda: v.Lambda, Sample: v.Sample}
		for i < len(outputs) && outputs[i].Compare(cell) < 0 {
			i++
		}
		if i == len(outputs) {
			return
		}
		if o := &outputs[i]; o.Compare(cell) == 0 {
			if o.Rewards == nil {
				o.Rewards = map[string]sweep.Value{}
			}
			o.Rewards[v.Reward] = v.value()
		}
	}
}

// anySweep is a sweep of any owner.
func (s *Store) anySweep(ctx context.Context, id string) (sweep.Sweep, error) {
	return s.oneSweep(ctx, id, s.read.NewSelect())
}

// Get implements reward.Cache.
func (s *Store) Get(key string) ([]byte, bool) {
	var answer []byte
	err := s.read.NewSelect().Table("sweep_answers").Column("answer").Where("key = ?", noZeros(key)).Scan(context.Background(), &answer)
	return answer, err == nil
}

// Put implements reward.Cache. What cannot be kept is asked again.
func (s *Store) Put(key string, answer []byte) {
	_, _ = s.write.NewRaw("INSERT INTO sweep_answers (key, answer) VALUES (?, ?) ON CONFLICT DO NOTHING", noZeros(key), answer).Exec(context.Background())
}
