package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/sweep"
	"realign/internal/sweep/export"
	"realign/internal/sweep/runner"
	"realign/web/templates"
)

// Sweeper runs sweeps; *runner.Runner is one. What does not exist, or is somebody else's, is NotFound; what a sweep's state
// does not allow is a Conflict.
type Sweeper interface {
	// Create starts a sweep, whose prompts have been read. It is Invalid with the field, or Busy where too many are open.
	Create(ctx context.Context, owner, id string, c *sweep.Config) (sweep.Sweep, error)
	// CreateOver starts a sweep about outputs that are decoded already: those of an experiment.
	CreateOver(ctx context.Context, owner, id, experiment string, c *sweep.Config) (sweep.Sweep, error)
	// AddRewards has more rewards judge the outputs of a sweep that has ended.
	AddRewards(ctx context.Context, owner, id string, more []sweep.Reward) error
	// JudgeAgain asks again what rewards failed to say.
	JudgeAgain(ctx context.Context, owner, id string) error
	// Pause lets a sweep rest when what workers have begun is finished; Resume goes on with it.
	Pause(ctx context.Context, owner, id string) error
	Resume(ctx context.Context, owner, id string) error
	// Cancel ends a sweep and keeps what it has. Delete removes one that has ended.
	Cancel(ctx context.Context, owner, id string) error
	Delete(ctx context.Context, owner, id string) error
	// Watch is how far a sweep is that runs here, and what tells of the next change.
	Watch(id string) (p runner.Progress, changed <-chan struct{}, runs bool)
	// Report is what is known of a sweep: the one that it ended with, or of what there is so far.
	Report(ctx context.Context, w *sweep.Sweep) (*sweep.Report, error)
}

// Sweeps is where sweeps are kept. What does not exist, or is somebody else's, is NotFound; the methods without an owner
// are for sweeps that were found with one.
type Sweeps interface {
	// Sweep is one of an owner's sweeps, without its outputs.
	Sweep(ctx context.Context, owner, id string) (sweep.Sweep, error)
	// Sweeps is a page of an owner's, the newest first; after is where the page before ended, next where this one
	// does.
	Sweeps(ctx context.Context, owner, after string, limit int) (list []sweep.Summary, next string, err error)
	// SweepTable is a page of the table prompts × λ.
	SweepTable(ctx context.Context, id string, q sweep.Query) (sweep.Page, error)
	// SweepCategories are the categories of a sweep's prompts.
	SweepCategories(ctx context.Context, id string) ([]string, error)
	// Outputs are those of a sweep, or of one of its prompts, with their texts or without.
	Outputs(ctx context.Context, id string, prompt *int, texts bool) ([]sweep.Output, error)
	// EachOutput is Outputs one by one. An error of f ends it.
	EachOutput(ctx context.Context, id string, prompt *int, texts bool, f func(sweep.Output) error) error
}

// How much a page has.
const (
	sweepsOnPage  = 50
	promptsOnPage = 50
	textsOnPage   = 20 // prompts, where the table has their texts
)

// sweepRoutes are the addresses of sweeps: pages, forms, and one form with a file.
func (s *Server) sweepRoutes(e *echo.Echo, page, change, upload []echo.MiddlewareFunc) {
	e.GET("/sweeps", s.showSweeps, page...)
	e.GET("/sweeps/new", s.newSweep, page...)
	e.GET("/sweeps/compare", s.compareSweeps, page...)
	e.GET("/sweeps/:id", s.showSweep, page...)
	e.GET("/sweeps/:id/live", s.showSweepLive, page...)
	e.GET("/sweeps/:id/table", s.showSweepTable, page...)
	e.GET("/sweeps/:id/prompts/:n", s.showSweepPrompt, page...)
	e.GET("/sweeps/:id/ticket", s.showTicket, page...)
	e.GET("/sweeps/:id/ticket.md", s.ticketMarkdown, page...)
	e.GET("/sweeps/:id/ticket.json", s.ticketJSON, page...)
	for _, format := range export.Formats() {
		e.GET("/sweeps/:id/export."+string(format), s.exportSweep(format), page...)
	}
	e.POST("/sweeps", s.createSweep, upload...)
	e.POST("/sweeps/:id/pause", s.changeSweep(s.sweeper.Pause, "The sweep rests.", "/sweeps/{id}"), change...)
	e.POST("/sweeps/:id/resume", s.changeSweep(s.sweeper.Resume, "The sweep goes on.", "/sweeps/{id}"), change...)
	e.POST("/sweeps/:id/cancel", s.changeSweep(s.sweeper.Cancel, "The sweep is cancelled.", "/sweeps/{id}"), change...)
	e.POST("/sweeps/:id/share", s.shareSweep, change...)
	e.GET("/sweeps/:id/rewards", s.showMoreRewards, page...)
	e.POST("/sweeps/:id/rewards", s.addRewards, change...)
	e.POST("/sweeps/:id/judge", s.changeSweep(s.sweeper.JudgeAgain, "What failed is asked again. Nothing is decoded.", "/sweeps/{id}"), change...)
	e.POST("/sweeps/:id/delete", s.changeSweep(s.sweeper.Delete, "The sweep is deleted.", "/sweeps"), change...)
}

// showSweeps is GET /sweeps: the viewer's sweeps.
func (s *Server) showSweeps(c echo.Context) error {
	list, next, err := s.sweeps.Sweeps(c.Request().Context(), owner(c), c.QueryParam("after"), sweepsOnPage)
	if err != nil {
		return err
	}
	v := templates.SweepList{Layout: s.layout(c, "Sweeps", "sweeps"), Next: next}
	for _, one := range list {
		v.Sweeps = append(v.Sweeps, templates.SweepItem{
			ID: one.ID, Title: one.Title(), Pair: one.Pair, Aligned: one.Aligned, State: string(one.State), Reason: one.Reason,
			Prompts: one.Prompts, Outputs: one.Outputs, Created: one.Created, Ended: one.Ended,
		})
	}
	return s.page(c, http.StatusOK, v)
}

// sweepItem is a sweep as lists and its own pages show it.
func sweepItem(w *sweep.Sweep) templates.SweepItem {
	item := templates.SweepItem{
		ID: w.ID, Title: w.Title(), Pair: w.Setup.Config.Pair, Aligned: w.Setup.Aligned, State: string(w.State), Reason: w.Reason,
		Prompts: len(w.Setup.Config.Prompts.Rows), Created: w.Created, Ended: w.Ended,
	}
	if decode.InWeights(w.Setup.Config.Mix) {
		item.Mix = decode.MixWeights
	}
	return item
}

// otherMix is what λ of a sweep could mix instead, to be compared; "" where there is nothing else.
func (s *Server) otherMix(w *sweep.Sweep) string {
	c := &w.Setup.Config
	switch {
	case decode.InWeights(c.Mix):
		return decode.MixLogits
	case c.Sampling.Exact == 0 && s.checkMix(c.Pair, w.Setup.Aligned, decode.MixWeights) == nil:
		return decode.MixWeights
	}
	return ""
}

// found is the sweep of a request's address.
func (s *Server) found(c echo.Context) (sweep.Sweep, error) {
	return s.sweeps.Sweep(c.Request().Context(), owner(c), c.Param("id"))
}

// changeSweep is POST /sweeps/{id}/pause and its like.
func (s *Server) changeSweep(change func(ctx context.Context, owner, id string) error, said, next string) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Param("id")
		if err := change(c.Request().Context(), owner(c), id); err != nil {
			return err
		}
		return s.done(c, said, "", strings.ReplaceAll(next, "{id}", id))
	}
}

// showSweepTable is GET /sweeps/{id}/table: prompts × λ, with the mean of a column in each cell. The query says which
// column, how it is sorted (by the column at the λ "sort"), and which prompts are shown.
func (s *Server) showSweepTable(c echo.Context) error {
	ctx := c.Request().Context()
	w, err := s.found(c)
	if err != nil {
		return err
	}
	v := templates.SweepTable{Layout: s.layout(c, w.Title()+": table", "sweeps"), Sweep: sweepItem(&w), Query: url.Values{}}
	v.Columns = rewardColumns(&w.Setup)
	v.Columns = append(v.Columns, templates.SweepColumn{Name: sweep.ColumnKL, Title: "KL to the reference", Unit: "nats"}, templates.SweepColumn{Name: sweep.ColumnTokens, Title: "tokens"})
	for _, name := range []string{"column", "sort", "reverse", "q", "category", "gaps", "texts"} {
		if text := c.QueryParam(name); text != "" {
			v.Query.Set(name, text)
		}
	}
	q := sweep.Query{
		Column: c.QueryParam("column"), Reverse: v.Query.Get("reverse") != "", Search: strings.TrimSpace(v.Query.Get("q")),
		Category: v.Query.Get("category"), Gaps: v.Query.Get("gaps") != "", Limit: promptsOnPage,
	}
	if q.Column == "" {
		q.Column = w.Setup.Config.Objective
	}
	i := slices.IndexFunc(v.Columns, func(x templates.SweepColumn) bool { return x.Name == q.Column })
	if i < 0 {
		return fault.Field("column", "%.40q is not a reward of this sweep, kl or tokens", q.Column)
	}
	v.Column = v.Columns[i]
	if text := v.Query.Get("sort"); text != "" {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fault.Field("sort", "%.40q is not a λ", text)
		}
		q.Sort = &x
	}
	if len(q.Search) > session.MaxSearch {
		return fault.Field("q", "%d bytes, at most %d", len(q.Search), session.MaxSearch)
	}
	if v.Number, err = pageNumber(c.QueryParam("page")); err != nil {
		return err
	}
	if v.Texts = v.Query.Get("texts") != ""; v.Texts {
		q.Limit = textsOnPage
	}
	q.Offset = (v.Number - 1) * q.Limit
	page, err := s.sweeps.SweepTable(ctx, w.ID, q)
	if err != nil {
		return err
	}
	if v.Categories, err = s.sweeps.SweepCategories(ctx, w.ID); err != nil {
		return err
	}
	v.Total, v.First, v.Pages = page.Total, q.Offset+1, (page.Total+q.Limit-1)/q.Limit
	v.Lambdas = lambdasOf(&w, page)
	for _, r := range page.Rows {
		row := templates.SweepRow{Prompt: r.Prompt, Text: r.Text, Category: r.Category, Cells: make([]templates.SweepMean, len(v.Lambdas))}
		for _, m := range r.Means {
			if at, ok := slices.BinarySearch(v.Lambdas, m.Lambda); ok {
				row.Cells[at] = templates.SweepMean{Mean: m.Mean, Count: m.Count, Cells: m.Cells}
			}
		}
		if v.Texts {
			if err := s.firstTexts(ctx, w.ID, &row, v.Lambdas); err != nil {
				return err
			}
		}
		v.Rows = append(v.Rows, row)
	}
	v.Low, v.High = extremes(v.Rows)
	return s.page(c, http.StatusOK, v)
}

// firstTexts gives the cells of a prompt the texts of their first samples.
func (s *Server) firstTexts(ctx context.Context, id string, row *templates.SweepRow, lambdas []float64) error {
	outputs, err := s.sweeps.Outputs(ctx, id, &row.Prompt, true)
	if err != nil {
		return err
	}
	for i := range outputs {
		o := &outputs[i]
		if at, ok := slices.BinarySearch(lambdas, o.Lambda); ok && row.Cells[at].Text == "" {
			row.Cells[at].Text = cmp.Or(o.Text, o.Error)
		}
	}
	return nil
}

// extremes are the least and the greatest mean of some rows.
func extremes(rows []templates.SweepRow) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, r := range rows {
		for _, c := range r.Cells {
			if c.Count > 0 {
				low, high = min(low, c.Mean), max(high, c.Mean)
			}
		}
	}
	if low > high {
		return 0, 0
	}
	return low, high
}

// pageNumber reads the number of a page; "" is the first.
func pageNumber(text string) (int, error) {
	if text == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > sweep.MaxPrompts {
		return 0, fault.Field("page", "%.20q is not the number of a page", text)
	}
	return n, nil
}

// lambdasOf are the λ of the grid, and those of refinement that a page of the table has.
func lambdasOf(w *sweep.Sweep, page sweep.Page) []float64 {
	all := slices.Clone(w.Setup.Config.Lambda.Values)
	for _, r := range page.Rows {
		for _, m := range r.Means {
			all = append(all, m.Lambda)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// rewardColumns are a sweep's rewards as columns of a table.
func rewardColumns(s *sweep.Setup) (all []templates.SweepColumn) {
	for _, j := range s.RewardInfos {
		all = append(all, templates.SweepColumn{Name: j.Name, Title: judgeTitle(j), Unit: j.Unit})
	}
	return all
}

// judgeTitle is what pages call a reward: by its name where the configuration gave it one of its own.
func judgeTitle(j sweep.RewardInfo) string {
	if j.Title == "" {
		return j.Name
	}
	return j.Title
}

// showSweepPrompt is GET /sweeps/{id}/prompts/{n}: all outputs of one prompt, counted from 0.
func (s *Server) showSweepPrompt(c echo.Context) error {
	w, err := s.found(c)
	if err != nil {
		return err
	}
	rows := w.Setup.Config.Prompts.Rows
	n, err := strconv.Atoi(c.Param("n"))
	if err != nil || n < 0 || n >= len(rows) {
		return fault.New(fault.NotFound, "the sweep has no such prompt")
	}
	outputs, err := s.sweeps.Outputs(c.Request().Context(), w.ID, &n, true)
	if err != nil {
		return err
	}
	e, err := s.experiments.ExperimentHead(c.Request().Context(), owner(c), w.Experiment)
	if err != nil {
		return err
	}
	row := &rows[n]
	v := templates.SweepPrompt{
		Layout: s.layout(c, fmt.Sprintf("%s: prompt %d", w.Title(), n+1), "sweeps"), Sweep: sweepItem(&w), Number: n, Of: len(rows), Most: w.Setup.Config.Sampling.MaxTokens,
		Prompt: row.Text, History: messageViews(row.History), System: row.System, Context: row.Context, Reference: row.Reference, Category: row.Category, Rewards: rewardColumns(&w.Setup),
	}
	for i := range outputs {
		cell := cellView(&w, &outputs[i])
		if e.Secret {
			cell.Playground = ""
		}
		v.Cells = append(v.Cells, cell)
	}
	return s.page(c, http.StatusOK, v)
}

// messageViews are the turns of a conversation.
func messageViews(messages []decode.Message) []templates.Message {
	views := make([]templates.Message, len(messages))
	for i, m := range messages {
		views[i] = templates.Message{Role: m.Role, Content: m.Content}
	}
	return views
}

// cellView is an output with its values and a link to the playground.
func cellView(w *sweep.Sweep, o *sweep.Output) templates.SweepCell {
	cell := templates.SweepCell{
		Lambda: o.Lambda, Sample: o.Sample, Text: o.Text, Tokens: o.Tokens, KL: o.KL, LogZ: o.LogZ, Untraced: o.Untraced, Finish: o.Finish, Error: o.Error,
		Playground: "/?" + url.Values{"from": {fmt.Sprintf("%s%s:%d", cellPrefix, w.ID, o.Prompt)}, "sample": {strconv.Itoa(o.Sample)}, "lanes": {strconv.FormatFloat(o.Lambda, 'g', -1, 64)}}.Encode(),
	}
	for _, j := range w.Setup.RewardInfos {
		value, asked := o.Rewards[j.Name]
		cell.Values = append(cell.Values, templates.SweepValue{Value: value.Value, Missing: value.Missing, Asked: asked})
	}
	return cell
}

// cellPrefix marks the prompt of a sweep in "/?from=w:{sweep}:{prompt}&sample=0&lanes=0.5".
const cellPrefix = "w:"

// errSecretSeed answers who asks for the seed of outputs that a study hides it of.
var errSecretSeed = fault.New(fault.Conflict, "the noise of these outputs is a secret of the study that they were decoded for: they can be repeated once it is closed")

// openCell is the playground with a prompt of a sweep, decoded with the same noise: with the λ of "?lanes=", or all of the
// grid, at one sample.
func (s *Server) openCell(c echo.Context, v templates.Playground, from string) error {
	id, number, _ := strings.Cut(from, ":")
	w, err := s.sweeps.Sweep(c.Request().Context(), owner(c), id)
	if err != nil {
		return err
	}
	config := &w.Setup.Config
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= len(config.Prompts.Rows) {
		return fault.New(fault.NotFound, "the sweep has no such prompt")
	}
	sample := 0
	if text := c.QueryParam("sample"); text != "" {
		if sample, err = strconv.Atoi(text); err != nil || sample < 0 {
			return fault.Field("sample", "%.20q is not the number of a sample", text)
		}
	}
	e, err := s.experiments.ExperimentHead(c.Request().Context(), owner(c), w.Experiment)
	if err != nil {
		return err
	}
	if e.Secret {
		return errSecretSeed
	}
	asked := config.Prompt(n)
	spec := run.Spec{
		Pair: config.Pair, Aligned: []string{w.Setup.Aligned}, Mode: run.Plain, Prompt: asked.Text,
		Sampling: config.Sampling, Seed: experiment.PromptSeed(e.Setup.Seed, n), Alternatives: 5,
	}
	// The bench has a field for a system prompt: it is no part of the history there.
	if n := len(asked.Messages); n > 0 {
		spec.Mode, spec.Prompt, spec.History = run.Chat, asked.Messages[n-1].Content, asked.Messages[:n-1]
		if n > 1 && spec.History[0].Role == "system" {
			spec.System, spec.History = spec.History[0].Content, spec.History[1:]
		}
	}
	v.Draft, v.Lanes = draftOf(spec), true
	if lanes := c.QueryParam("lanes"); lanes != "" {
		if v.Draft.Lanes, err = lanesOf(lanes, sample); err != nil {
			return err
		}
	} else {
		for _, lambda := range config.Lambda.Values {
			v.Draft.Lanes = append(v.Draft.Lanes, templates.DraftLane{Lambda: []float64{lambda}, Sample: sample})
		}
	}
	return s.page(c, http.StatusOK, v)
}

// exportSweep is GET /sweeps/{id}/export.{format}: all outputs.
func (s *Server) exportSweep(format export.Format) echo.HandlerFunc {
	return func(c echo.Context) error {
		w, err := s.found(c)
		if err != nil {
			return err
		}
		download(c, w.Title(), string(format), format.Type())
		out, err := export.New(format, c.Response(), &w.Setup)
		if err != nil {
			return err
		}
		err = s.sweeps.EachOutput(c.Request().Context(), w.ID, nil, true, out.Write)
		if err == nil {
			err = out.Close()
		}
		if err != nil { // the head is sent: what can be told is that the file is cut off
			s.log.Warn("export of a sweep broke off", "sweep", w.ID, "error", err)
			panic(http.ErrAbortHandler)
		}
		return nil
	}
}

// download sends what follows as a file.
func download(c echo.Context, title, ending, mediaType string) {
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", mediaType)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": fileName(title, "sweep", "."+ending)}))
}
