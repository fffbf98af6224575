package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/stat"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
	"realign/web/templates"
)

// showSweep is GET /sweeps/{id}: the report as it is now.
func (s *Server) showSweep(c echo.Context) error {
	w, err := s.found(c)
	if err != nil {
		return err
	}
	v := templates.SweepPage{Layout: s.layout(c, w.Title(), "sweeps")}
	if v.Live, err = s.liveView(c, &w); err != nil {
		return err
	}
	return s.page(c, http.StatusOK, v)
}

// showSweepLive is GET /sweeps/{id}/live: the part of the page that changes.
func (s *Server) showSweepLive(c echo.Context) error {
	w, err := s.found(c)
	if err != nil {
		return err
	}
	v, err := s.liveView(c, &w)
	if err != nil {
		return err
	}
	return s.fragment(c, "", v.Section())
}

// charts are the drawings of a report, and its numbers.
func charts(report *sweep.Report) (v templates.SweepCharts) {
	objective := report.Reward(report.Objective)
	if objective == nil || report.Outputs == 0 {
		return v
	}
	curve, pareto := withWhole(curvePlot(report, objective), objective, report.Beta), paretoPlot(report, objective)
	v.Curve, v.Pareto = &curve, &pareto
	if len(report.Rewards) > 1 {
		for i := range report.Rewards {
			for _, p := range []templates.Plot{curvePlot(report, &report.Rewards[i]), paretoPlot(report, &report.Rewards[i])} {
				p.Small = true
				v.Others = append(v.Others, p)
			}
		}
	}
	v.Table = numbersView(report)
	return v
}

// ticketSections are what a ticket says beside its answer.
func ticketSections(r *sweep.Report) []templates.TicketSection {
	t := r.Recommendation
	if t == nil {
		return nil
	}
	all := []templates.TicketSection{{Title: "Evidence", Items: t.Evidence}, {Title: "Assumed", Items: t.Assumptions}}
	if t.TRL != "" {
		all = append(all, templates.TicketSection{Title: "Next training", Code: t.TRL})
	}
	return all
}

// liveView is the part of a sweep's page that changes while it runs.
func (s *Server) liveView(c echo.Context, w *sweep.Sweep) (templates.SweepLive, error) {
	v := templates.SweepLive{Sweep: sweepItem(w), CSRF: csrfToken(c)}
	v.Sweep.Other = s.otherMix(w)
	report, err := s.sweeper.Report(c.Request().Context(), w)
	if err != nil {
		return v, err
	}
	v.Sweep.Outputs = report.Outputs
	if v.Related, err = s.related(c, w.Experiment, w.ID); err != nil {
		return v, err
	}
	v.Again = again(w, report)
	s.progressView(&v, w, report)
	v.Answer, v.Facts, v.Warnings = answer(report), answerFacts(report), warnings(report)
	v.SweepCharts = charts(report)
	for _, r := range report.Rewards {
		for _, m := range r.Missing {
			v.Missing = append(v.Missing, templates.SweepGap{What: judgeTitle(r.RewardInfo), Reason: m.Reason, Count: m.Cells})
		}
	}
	return v, nil
}

// again is how many values endpoints failed to give that may be asked for again.
func again(w *sweep.Sweep, report *sweep.Report) (cells int) {
	if !w.State.Can(sweep.Judging) {
		return 0
	}
	for _, asked := range w.Setup.Config.Rewards {
		if r := report.Reward(asked.Name); r != nil && reward.MayFail(asked.Reward) {
			for _, m := range r.Missing {
				cells += m.Cells
			}
		}
	}
	return cells
}

// progressView says how far a sweep is.
func (s *Server) progressView(v *templates.SweepLive, w *sweep.Sweep, report *sweep.Report) {
	if w.State == sweep.Judging {
		v.Words = "What is decoded is being judged. Nothing is decoded anew."
		if p, _, runs := s.sweeper.Watch(w.ID); runs {
			v.Trouble = p.Trouble
		}
		return
	}
	if w.State != sweep.Running {
		v.Words = fmt.Sprintf("%d tokens decoded.", report.Tokens)
		if w.Reason != "" {
			v.Words = templates.Capital(w.Reason) + ". " + v.Words
		}
		return
	}
	p, _, runs := s.sweeper.Watch(w.ID)
	if !runs {
		v.Words = fmt.Sprintf("Another server decodes it, or it is about to go on. %d tokens decoded.", report.Tokens)
		return
	}
	v.Trouble = p.Trouble
	if p.Expected > 0 {
		v.Part = min(1, float64(p.Tokens)/float64(p.Expected))
	}
	parts := []string{templates.Capital(p.Plan.Reason)}
	if p.Plan.Reason == "" {
		parts[0] = "Starting"
	}
	parts = append(parts, fmt.Sprintf("%d of about %d tokens", p.Tokens, p.Expected))
	if p.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%.0f tokens/s", p.Rate))
	}
	if p.Left > 0 {
		parts = append(parts, "about "+wait(p.Left.Seconds())+" left")
	}
	if p.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d not decoded", p.Failed))
	}
	if p.Cost > 0 {
		parts = append(parts, "judging cost "+significant(p.Cost))
	}
	v.Words = strings.Join(parts, " · ")
	for _, name := range slices.Sorted(maps.Keys(p.Workers)) {
		v.Workers = append(v.Workers, templates.SweepWorker{Name: name, Items: p.Workers[name]})
	}
}

// wait is a time left, in the words of one who waits.
func wait(seconds float64) string {
	switch {
	case seconds < 90:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 90*60:
		return fmt.Sprintf("%.0f min", seconds/60)
	}
	return fmt.Sprintf("%.1f h", seconds/3600)
}

// interval writes an estimate with its interval.
func interval(i *stat.Interval) string {
	if i == nil {
		return "–"
	}
	if !i.Known() {
		return significant(i.Estimate) + " (no interval)"
	}
	return fmt.Sprintf("%s [%s, %s]", significant(i.Estimate), significant(i.Low), significant(i.High))
}

// significant writes a number with three significant digits and a real minus sign.
func significant(x float64) string {
	if math.Abs(x) < 5e-4 {
		return "0"
	}
	return minusSigns(strconv.FormatFloat(x, 'g', 3, 64))
}

var hyphenBeforeDigit = regexp.MustCompile(`(^|[\s\[(])-(\d)`)

// minusSigns writes the numbers of a text with real minus signs.
func minusSigns(text string) string { return hyphenBeforeDigit.ReplaceAllString(text, "$1−$2") }

// answer is what the sweep says, in a sentence.
func answer(r *sweep.Report) string {
	switch {
	case r.Outputs == 0:
		return "Nothing is decoded yet"
	case r.Best == nil:
		return "No best λ found"
	}
	text := "Best λ for " + r.Objective + ": " + interval(&r.Best.Lambda)
	switch {
	case r.Best.Reference():
		text += ": the reference is best, and no β exists"
	case r.Recommendation != nil && r.Recommendation.Beta != nil:
		text += ", effective β " + minusSigns(r.Recommendation.Beta.String())
	}
	return text
}

// answerFacts are the numbers behind the answer.
func answerFacts(r *sweep.Report) (all []templates.Fact) {
	add := func(name, value string) { all = append(all, templates.Fact{Name: name, Value: value}) }
	if r.Best == nil {
		if o := r.Reward(r.Objective); o != nil && o.Movement.Prompts > 1 {
			add("Chance of differences as large, if λ does nothing", significant(o.Movement.P))
			if n := o.Movement.Needed; n > 0 {
				add("Prompts that would tell, if they are what they look like", strconv.Itoa(n))
			}
			add("Rests on", fmt.Sprintf("%d samples of %d prompts", r.Outputs, r.Prompts))
		}
		return all
	}
	add(r.Objective+" at the best λ", interval(&r.Best.Value))
	if r.Best.Gain != nil {
		add("Better than λ = 1 by", interval(r.Best.Gain))
	}
	if r.KnowsKL() {
		add("KL to the reference at the best λ", significant(r.Best.KL)+" nats")
	}
	add("Mean |log Z| per token", significant(r.Best.LogZ)+" nats")
	if r.Beta > 0 {
		add("β₀ of the aligned model", significant(r.Beta))
	}
	if o := r.Reward(r.Objective); o.Whole != nil && o.Whole.Best != nil {
		add("Best λ by whole replies", interval(o.Whole.Best))
	}
	if c := r.Holdout; c != nil {
		add(r.Evaluation+" at the best λ (not optimised)", interval(&c.At))
	}
	if r.Cost > 0 {
		add("Judging cost, at the endpoints' prices", significant(r.Cost))
	}
	add("Rests on", fmt.Sprintf("%d samples of %d prompts", r.Outputs, r.Prompts))
	return all
}

// warnings is what is to be known before the answer is believed.
func warnings(r *sweep.Report) (all []string) {
	if r.Outputs > 0 && r.Best == nil {
		all = append(all, sweep.NoBest(r))
	}
	all = append(all, r.Notes...)
	if r.Best != nil {
		all = append(all, r.Best.Edges()...)
		if c := r.Holdout; c != nil && c.Overoptimised {
			all = append(all, fmt.Sprintf("Over-optimised: by %s, which was not optimised, the best λ is surely lower.", r.Evaluation))
		}
		if w := r.Reward(r.Objective).Whole; w != nil && w.Differs {
			all = append(all, w.Contrast(r.Objective, r.Beta))
		}
	}
	for i := range all {
		all[i] = minusSigns(all[i])
	}
	return all
}

// nearestPoint is the decoded λ nearest to the best one; −1 without.
func nearestPoint(w *sweep.RewardReport) int {
	best := -1
	for i, point := range w.Points {
		if w.Best != nil && point.Mean != nil &&
			(best < 0 || math.Abs(point.Lambda-w.Best.Lambda.Estimate) < math.Abs(w.Points[best].Lambda-w.Best.Lambda.Estimate)) {
			best = i
		}
	}
	return best
}

// numbersView is the table below the plots.
func numbersView(r *sweep.Report) *templates.SweepNumbers {
	t := &templates.SweepNumbers{}
	for _, w := range r.Rewards {
		t.Columns = append(t.Columns, w.Name, w.Name+" less λ = 1")
	}
	var whole *sweep.Whole
	if objective := r.Reward(r.Objective); objective != nil && objective.Whole != nil {
		whole = objective.Whole
		t.Columns = append(t.Columns, r.Objective+", whole replies", "less token by token", "effective replies")
	}
	t.Columns = append(t.Columns, "KL, nats", "mean |log Z|", "replies that would be others", "tokens", "samples")
	best := -1
	if objective := r.Reward(r.Objective); objective != nil {
		best = nearestPoint(objective)
	}
	for i, l := range r.Lambdas {
		row := templates.SweepNumbersRow{Lambda: l.Lambda, Best: i == best}
		for _, w := range r.Rewards {
			row.Cells = append(row.Cells, interval(w.Points[i].Mean), interval(w.Points[i].Difference))
		}
		if whole != nil {
			row.Cells = append(row.Cells, wholeCells(whole, l.Lambda)...)
		}
		row.Cells = append(row.Cells, interval(l.KL), interval(l.LogZ), trustCell(l.Trust), interval(l.Length), strconv.Itoa(l.Outputs))
		t.Rows = append(t.Rows, row)
	}
	return t
}

// trustCell is how far token-wise decoding is off.
func trustCell(t *sweep.Trust) string {
	if t == nil {
		return "–"
	}
	return interval(&t.Distance)
}

// wholeCells are what whole replies would say at a decoded λ.
func wholeCells(w *sweep.Whole, l float64) []string {
	for _, p := range w.Points {
		if p.Lambda == l {
			return []string{interval(p.Value), interval(p.Difference), fmt.Sprintf("%s (%.0f%%)", significant(p.ESS), 100*p.Share)}
		}
	}
	return []string{"–", "–", "–"}
}

// ticket is the sweep of a request's address with its report; Recommendation is nil while there is no ticket.
func (s *Server) ticket(c echo.Context) (*sweep.Sweep, *sweep.Report, error) {
	w, err := s.found(c)
	if err != nil {
		return nil, nil, err
	}
	report, err := s.sweeper.Report(c.Request().Context(), &w)
	return &w, report, err
}

// showTicket is GET /sweeps/{id}/ticket: what the sweep recommends, on one page.
func (s *Server) showTicket(c echo.Context) error {
	w, r, err := s.ticket(c)
	if err != nil {
		return err
	}
	v := templates.SweepTicket{Layout: s.layout(c, w.Title()+": ticket", "sweeps"), Sweep: sweepItem(w), Answer: answer(r), Facts: answerFacts(r), Warnings: warnings(r), Sections: ticketSections(r)}
	v.CanShare, v.ShareURL = r.Outputs > 0, s.newSweepLink(c, w.ID)
	return s.page(c, http.StatusOK, v)
}

// errNoTicket answers who asks for a ticket as a file before there is one.
var errNoTicket = fault.New(fault.NotFound, "the sweep has no ticket yet: the objective has no value")

// ticketMarkdown is GET /sweeps/{id}/ticket.md, and ticketJSON /sweeps/{id}/ticket.json.
func (s *Server) ticketMarkdown(c echo.Context) error {
	w, r, err := s.ticket(c)
	if err == nil && r.Recommendation == nil {
		err = errNoTicket
	}
	if err != nil {
		return err
	}
	download(c, w.Title(), "md", "text/markdown; charset=utf-8")
	return c.String(http.StatusOK, r.Recommendation.Markdown())
}

// ticketJSON is GET /sweeps/{id}/ticket.json.
func (s *Server) ticketJSON(c echo.Context) error {
	w, r, err := s.ticket(c)
	if err == nil && r.Recommendation == nil {
		err = errNoTicket
	}
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(r.Recommendation, "", "  ")
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the ticket cannot be written as JSON")
	}
	download(c, w.Title(), "ticket.json", echo.MIMEApplicationJSON)
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, append(text, '\n'))
}

// compareSweeps is GET /sweeps/compare?id=…&id=…: two sweeps side by side, the second less the first.
func (s *Server) compareSweeps(c echo.Context) error {
	ids := c.QueryParams()["id"]
	if len(ids) != 2 || ids[0] == ids[1] {
		return fault.Field("id", "%d sweeps, where two different ones are compared", len(ids))
	}
	v := templates.SweepCompare{Layout: s.layout(c, "Comparison of sweeps", "sweeps")}
	var reports []*sweep.Report
	var sides [2]sweep.Side
	for i, id := range ids {
		w, err := s.sweeps.Sweep(c.Request().Context(), owner(c), id)
		if err != nil {
			return err
		}
		r, err := s.sweeper.Report(c.Request().Context(), &w)
		if err != nil {
			return err
		}
		reports, sides[i] = append(reports, r), sweep.Side{Setup: &w.Setup, Report: r}
		v.Sides = append(v.Sides, templates.SweepSide{Sweep: sweepItem(&w), Answer: answer(r)})
	}
	texts := sweep.PartsByMix(sides[0].Setup, sides[1].Setup)
	for i, id := range ids {
		var err error
		if sides[i].Outputs, err = s.sweeps.Outputs(c.Request().Context(), id, nil, texts); err != nil {
			return err
		}
	}
	compared := sweep.Compare(sides[0], sides[1])
	v.Warnings = compared.Warning
	if compared.Paired > 0 {
		v.Facts = append(v.Facts, templates.Fact{Name: "Compared in pairs", Value: fmt.Sprintf("%d prompts that both have", compared.Paired)})
	}
	for _, p := range compared.Texts {
		v.Texts = append(v.Texts, templates.TextsRow{Lambda: p.Lambda, Texts: p.Texts, Equal: interval(p.Equal), Common: interval(p.Common)})
	}
	v.Facts = append(v.Facts, templates.Fact{Name: "Best λ, second − first", Value: interval(compared.Lambda)})
	for _, both := range compared.Rewards {
		v.Facts = append(v.Facts, templates.Fact{Name: both.Name + " at its best, second − first", Value: interval(both.Best)})
		v.Plots = append(v.Plots, bothPlot(reports, both.Name))
		table := templates.CompareTable{Name: both.Name}
		for _, p := range both.Points {
			table.Rows = append(table.Rows, templates.CompareRow{
				Lambda: p.Lambda, First: interval(p.First), Second: interval(p.Second), Difference: interval(p.Difference),
				Clear: p.Sure,
			})
		}
		v.Tables = append(v.Tables, table)
	}
	return s.page(c, http.StatusOK, v)
}
