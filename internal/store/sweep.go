package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/sweep"
)

type sweepRow struct {
	bun.BaseModel `bun:"table:sweeps,alias:w"`

	ID        string  `bun:"id,pk"`
	Owner     string  `bun:"owner"`
	Instance  string  `bun:"instance"`
	Name      string  `bun:"name"`
	Pair      string  `bun:"pair"`
	Aligned   string  `bun:"aligned"`
	Prompts   int     `bun:"prompts"`
	Setup     string  `bun:"setup"`
	State     string  `bun:"state"`
	Reason    string  `bun:"reason"`
	Report    *string `bun:"report"`
	CreatedAt int64   `bun:"created_at"`
	EndedAt   *int64  `bun:"ended_at"`
	Outputs   int     `bun:"outputs,scanonly"`
}

// head is the sweep without its setup.
func (r *sweepRow) head() sweep.Sweep {
	s := sweep.Sweep{
		ID: r.ID, Owner: r.Owner, Instance: r.Instance, State: sweep.State(r.State), Reason: r.Reason,
		Created: fromMicros(&r.CreatedAt), Ended: fromMicros(r.EndedAt),
	}
	if r.Report != nil {
		s.Report = json.RawMessage(*r.Report)
	}
	return s
}

func (r *sweepRow) sweep() (sweep.Sweep, error) {
	s := r.head()
	if err := json.Unmarshal([]byte(r.Setup), &s.Setup); err != nil {
		return s, fault.Wrap(err, fault.Internal, "sweep %s cannot be read", r.ID)
	}
	return s, nil
}

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

type cellRow struct {
	bun.BaseModel `bun:"table:sweep_cells,alias:c"`

	SweepID       string  `bun:"sweep_id,pk"`
	Prompt        int     `bun:"prompt,pk"`
	Lambda        float64 `bun:"lambda,pk"`
	Sample        int     `bun:"sample,pk"`
	Text          string  `bun:"text"`
	Tokens        int     `bun:"tokens"`
	Finish        string  `bun:"finish"`
	Error         string  `bun:"error"`
	KL            float64 `bun:"kl"`
	LogZ          float64 `bun:"log_z"`
	LogpReference float64 `bun:"logp_reference"`
	LogpAligned   float64 `bun:"logp_aligned"`
	LogQ          string  `bun:"log_q"`
}

func (r *cellRow) output() (sweep.Output, error) {
	o := sweep.Output{
		Cell: sweep.Cell{Prompt: r.Prompt, Lambda: r.Lambda, Sample: r.Sample},
		Text: r.Text, Tokens: r.Tokens, Finish: r.Finish, Error: r.Error,
		KL: r.KL, LogZ: r.LogZ, LogpReference: r.LogpReference, LogpAligned: r.LogpAligned,
	}
	if err := json.Unmarshal([]byte(r.LogQ), &o.LogQ); err != nil {
		return o, fault.Wrap(err, fault.Internal, "a cell of sweep %s cannot be read", r.SweepID)
	}
	return o, nil
}

type valueRow struct {
	bun.BaseModel `bun:"table:sweep_values,alias:v"`

	SweepID string   `bun:"sweep_id,pk"`
	Reward  string   `bun:"reward,pk"`
	Prompt  int      `bun:"prompt,pk"`
	Lambda  float64  `bun:"lambda,pk"`
	Sample  int      `bun:"sample,pk"`
	Value   *float64 `bun:"value"`
	Missing string   `bun:"missing"`
	Cost    float64  `bun:"cost"`
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

// CreateSweep adds a sweep without outputs.
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
		_, err := tx.NewInsert().Model(&sweepRow{
			ID: w.ID, Owner: w.Owner, Instance: w.Instance, Name: noZeros(config.Name), Pair: config.Pair, Aligned: w.Setup.Aligned,
			Prompts: len(rows), Setup: string(setup), State: string(w.State), Reason: noZeros(w.Reason), CreatedAt: w.Created.UnixMicro(),
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
	var row sweepRow
	query := s.read.NewSelect().Model(&row).Where("w.owner = ? AND w.id = ?", owner, id)
	setup, known := s.setups.get(id)
	if known {
		query.ExcludeColumn("setup")
	}
	if err := query.Scan(ctx); err != nil {
		return sweep.Sweep{}, wrap(notFound(err, "sweep"), "read sweep %s", id)
	}
	if known {
		w := row.head()
		w.Setup = setup
		return w, nil
	}
	w, err := row.sweep()
	if err == nil {
		s.setups.put(id, w.Setup)
	}
	return w, err
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
		if sweeps[i], err = rows[i].sweep(); err != nil {
			return nil, err
		}
	}
	return sweeps, nil
}

// Sweeps lists an owner's sweeps, the newest first, a page after a cursor ("" is the first). next is "" at the end.
func (s *Store) Sweeps(ctx context.Context, owner, after string, limit int) (list []sweep.Summary, next string, err error) {
	query := s.read.NewSelect().Model((*sweepRow)(nil)).ExcludeColumn("setup", "report").Where("w.owner = ?", owner).
		ColumnExpr("(SELECT COUNT(*) FROM sweep_cells AS c WHERE c.sweep_id = w.id) AS outputs").
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
	if to.Ended() {
		query.Set("ended_at = ?", at.UnixMicro())
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

// DeleteSweep removes a sweep that has ended, with all that it has, for good.
func (s *Store) DeleteSweep(ctx context.Context, owner, id string) error {
	result, err := s.write.NewDelete().Model((*sweepRow)(nil)).Where("owner = ? AND id = ? AND ended_at IS NOT NULL", owner, id).Exec(ctx)
	return changed(result, err, "ended sweep")
}

// AddOutputs keeps outputs, but for those whose cell has one already. It returns how many were new. Their rewards
// are not kept: see AddValues.
func (s *Store) AddOutputs(ctx context.Context, id string, outputs []sweep.Output) (added int, err error) {
	rows := make([]cellRow, len(outputs))
	for i, o := range outputs {
		q, err := json.Marshal(o.LogQ)
		if err != nil {
			return 0, fault.Wrap(err, fault.Internal, "an output cannot be written as JSON")
		}
		rows[i] = cellRow{
			SweepID: id, Prompt: o.Prompt, Lambda: o.Lambda, Sample: o.Sample, Text: noZeros(o.Text), Tokens: o.Tokens,
			Finish: o.Finish, Error: noZeros(o.Error), KL: o.KL, LogZ: o.LogZ,
			LogpReference: o.LogpReference, LogpAligned: o.LogpAligned, LogQ: string(q),
		}
	}
	err = s.tx(ctx, func(tx bun.Tx) error {
		added, err = insertNew(ctx, tx, rows)
		return err
	})
	return added, wrap(err, "keep outputs of sweep %s", id)
}

// AddValues keeps what rewards said of cells, but for what they have said already.
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
		_, err := insertNew(ctx, tx, rows)
		return err
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

// EachOutput is Outputs one by one. An error of f ends it.
func (s *Store) EachOutput(ctx context.Context, id string, prompt *int, texts bool, f func(sweep.Output) error) error {
	values := s.read.NewSelect().Model((*valueRow)(nil)).Where("v.sweep_id = ?", id).OrderExpr("v.prompt, v.lambda, v.sample")
	cells := s.read.NewSelect().Model((*cellRow)(nil)).Where("c.sweep_id = ?", id).OrderExpr("c.prompt, c.lambda, c.sample")
	if !texts {
		cells.ExcludeColumn("text")
	}
	if prompt != nil {
		values.Where("v.prompt = ?", *prompt)
		cells.Where("c.prompt = ?", *prompt)
	}
	said := &cursorOf[valueRow]{store: s}
	defer said.close()
	if err := said.open(ctx, values); err != nil {
		return wrap(err, "read values of sweep %s", id)
	}
	found := &cursorOf[cellRow]{store: s}
	defer found.close()
	if err := found.open(ctx, cells); err != nil {
		return wrap(err, "read outputs of sweep %s", id)
	}
	v, more, err := said.next(ctx)
	for err == nil {
		var r cellRow
		var ok bool
		if r, ok, err = found.next(ctx); err != nil || !ok {
			break
		}
		r.SweepID = id
		var o sweep.Output
		if o, err = r.output(); err != nil {
			break
		}
		for more && err == nil {
			order := sweep.Cell{Prompt: v.Prompt, Lambda: v.Lambda, Sample: v.Sample}.Compare(o.Cell)
			if order > 0 {
				break
			}
			if order == 0 {
				if o.Rewards == nil {
					o.Rewards = map[string]sweep.Value{}
				}
				value := sweep.Value{Missing: v.Missing, Cost: v.Cost}
				if v.Value != nil {
					value.Value = *v.Value
				}
				o.Rewards[v.Reward] = value
			}
			v, more, err = said.next(ctx)
		}
		if err == nil {
			err = f(o)
		}
	}
	return wrap(err, "read outputs of sweep %s", id)
}

// cursorOf reads rows one by one.
type cursorOf[T any] struct {
	store *Store
	rows  *sql.Rows
}

func (c *cursorOf[T]) open(ctx context.Context, q *bun.SelectQuery) (err error) {
	c.rows, err = q.Rows(ctx)
	return err
}

func (c *cursorOf[T]) next(ctx context.Context) (row T, ok bool, err error) {
	if !c.rows.Next() {
		return row, false, c.rows.Err()
	}
	return row, true, c.store.read.ScanRow(ctx, c.rows, &row)
}

func (c *cursorOf[T]) close() {
	if c.rows != nil {
		_ = c.rows.Close() // of a query that was only read
	}
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
