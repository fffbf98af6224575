package store

import (
	"context"
	"strings"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// column is where the values of a table's column are: the table, what of it is meant, and the expression of a
// value, which is NULL where there is none.
func (s *Store) column(name string, w *sweep.Sweep) (table string, where func(q *bun.SelectQuery) *bun.SelectQuery, value string) {
	id := w.ID
	// An output that failed has neither.
	there := map[string]string{sweep.ColumnKL: "x.error = '' AND NOT x.untraced", sweep.ColumnTokens: "x.error = ''"}
	switch name {
	case sweep.ColumnKL, sweep.ColumnTokens:
		return "experiment_outputs", func(q *bun.SelectQuery) *bun.SelectQuery {
				return asked(q.Where("x.experiment_id = ?", w.Experiment), w)
			},
			"CASE WHEN " + there[name] + " THEN x." + name + " END"
	default:
		return "sweep_values", func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("x.sweep_id = ? AND x.reward = ?", id, noZeros(name))
		}, "x.value"
	}
}

// asked leaves out of an experiment's outputs x those that a sweep has not asked for: see sweep.Setup.Asks.
func asked(q *bun.SelectQuery, w *sweep.Sweep) *bun.SelectQuery {
	c := &w.Setup.Config
	rewards := make([]string, len(w.Setup.RewardInfos))
	for i, r := range w.Setup.RewardInfos {
		rewards[i] = noZeros(r.Name)
	}
	return q.Where("(x.sample < ? AND x.lambda IN (?) OR x.sample >= ? AND (x.error <> '' OR EXISTS (SELECT 1 FROM sweep_values AS j"+
		" WHERE j.sweep_id = ? AND j.reward IN (?) AND j.prompt = x.prompt AND j.lambda = x.lambda AND j.sample = x.sample)))",
		c.Samples, bun.List(c.Lambda.Values), c.Samples, w.ID, bun.List(rewards))
}

// SweepTable is a page of the table prompts × λ of a sweep.
func (s *Store) SweepTable(ctx context.Context, id string, q sweep.Query) (sweep.Page, error) {
	if q.Limit < 1 || q.Limit > sweep.MaxPage {
		return sweep.Page{}, fault.Field("limit", "%d is outside 1 to %d", q.Limit, sweep.MaxPage)
	}
	if q.Offset < 0 {
		return sweep.Page{}, fault.Field("offset", "%d is negative", q.Offset)
	}
	w, err := s.anySweep(ctx, id)
	if err != nil {
		return sweep.Page{}, err
	}
	table, where, value := s.column(q.Column, &w)
	query := s.read.NewSelect().Model((*sweepPromptRow)(nil)).Where("p.sweep_id = ?", id)
	if q.Search != "" {
		query.Where("p.fold LIKE ? ESCAPE '!'", "%"+likeEscaper.Replace(fold(strings.ToValidUTF8(q.Search, "\uFFFD")))+"%")
	}
	if q.Category != "" {
		query.Where("p.category = ?", noZeros(q.Category))
	}
	if q.Gaps {
		missing := s.read.NewSelect().TableExpr("sweep_values AS x").ColumnExpr("x.prompt").
			Where("x.sweep_id = ? AND x.reward = ? AND x.value IS NULL", id, noZeros(q.Column))
		failed := asked(s.read.NewSelect().TableExpr("experiment_outputs AS x").ColumnExpr("x.prompt").
			Where("x.experiment_id = ? AND x.error <> ''", w.Experiment), &w)
		query.Where("(p.prompt IN (?) OR p.prompt IN (?))", missing, failed)
	}
	total, err := query.Clone().Count(ctx)
	if err != nil {
		return sweep.Page{}, wrap(err, "count prompts of sweep %s", id)
	}
	direction := "ASC"
	if q.Reverse {
		direction = "DESC"
	}
	if q.Sort != nil {
		// A subquery for each prompt, which an index answers by itself.
		mean := where(s.read.NewSelect().TableExpr("? AS x", bun.Ident(table)).ColumnExpr("AVG("+value+")").
			Where("x.lambda = ? AND x.prompt = p.prompt", *q.Sort))
		query.ColumnExpr("(?) AS mean", mean).OrderExpr("mean " + direction + " NULLS LAST, p.prompt")
	} else {
		query.OrderExpr("p.prompt " + direction)
	}
	var rows []sweepPromptRow
	err = query.Column("p.prompt", "p.beginning", "p.category").Offset(int64(q.Offset)).Limit(int64(q.Limit)).Scan(ctx, &rows)
	if err != nil {
		return sweep.Page{}, wrap(err, "list prompts of sweep %s", id)
	}
	page := sweep.Page{Total: int(total)}
	at := map[int]int{}
	var prompts []int
	for i, r := range rows {
		page.Rows = append(page.Rows, sweep.PageRow{Prompt: r.Prompt, Text: r.Beginning, Category: r.Category})
		at[r.Prompt] = i
		prompts = append(prompts, r.Prompt)
	}
	if len(prompts) == 0 {
		return page, nil
	}
	// Means are read for the prompts of the page alone.
	var means []struct {
		Prompt int      `bun:"prompt"`
		Lambda float64  `bun:"lambda"`
		Mean   *float64 `bun:"mean"`
		Count  int      `bun:"counted"`
		Cells  int      `bun:"cells"`
	}
	err = where(s.read.NewSelect().TableExpr("? AS x", bun.Ident(table))).ColumnExpr("x.prompt, x.lambda").
		ColumnExpr("AVG("+value+") AS mean, COUNT("+value+") AS counted, COUNT(*) AS cells").
		Where("x.prompt IN (?)", bun.List(prompts)).GroupExpr("x.prompt, x.lambda").OrderExpr("x.prompt, x.lambda").Scan(ctx, &means)
	if err != nil {
		return page, wrap(err, "read the table of sweep %s", id)
	}
	for _, m := range means {
		mean := sweep.Mean{Lambda: m.Lambda, Count: m.Count, Cells: m.Cells}
		if m.Mean != nil {
			mean.Mean = *m.Mean
		}
		row := &page.Rows[at[m.Prompt]]
		row.Means = append(row.Means, mean)
	}
	return page, nil
}

// SweepCategories lists the categories of a sweep's prompts.
func (s *Store) SweepCategories(ctx context.Context, id string) ([]string, error) {
	var names []string
	err := s.read.NewSelect().Model((*sweepPromptRow)(nil)).ColumnExpr("DISTINCT p.category").
		Where("p.sweep_id = ? AND p.category <> ''", id).OrderExpr("p.category").Limit(200).Scan(ctx, &names)
	return names, wrap(err, "list categories of sweep %s", id)
}
