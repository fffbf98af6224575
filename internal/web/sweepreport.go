package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/sweep"
	"realign/web/templates"
)

// showSweep is GET /sweeps/{id}.
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
	var buf bytes.Buffer
	if err := v.Section().Render(c.Request().Context(), &buf); err != nil {
		return fault.Wrap(err, fault.Internal, "the sweep could not be drawn")
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.HTMLBlob(http.StatusOK, buf.Bytes())
}

func (s *Server) liveView(c echo.Context, w *sweep.Sweep) (templates.SweepLive, error) {
	v := templates.SweepLive{Sweep: sweepItem(w), CSRF: csrfToken(c)}
	report, err := s.sweeper.Report(c.Request().Context(), w)
	if err != nil {
		return v, err
	}
	v.Sweep.Outputs = report.Outputs
	s.progressView(&v, w, report)
	v.Answer, v.Facts, v.Warnings = answer(report), answerFacts(report), warnings(report)
	if objective := report.Reward(report.Objective); objective != nil && report.Outputs > 0 {
		curve, pareto := curvePlot(report, objective), paretoPlot(report, objective)
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
	}
	for _, r := range report.Rewards {
		for _, m := range r.Missing {
			v.Missing = append(v.Missing, templates.SweepGap{What: judgeTitle(r.Judge), Reason: m.Reason, Count: m.Cells})
		}
	}
	return v, nil
}

// progressView says how far a sweep is.
func (s *Server) progressView(v *templates.SweepLive, w *sweep.Sweep, report *sweep.Report) {
	if w.State != sweep.Running {
		v.Words = fmt.Sprintf("%d tokens decoded.", report.Tokens)
		if w.Reason != "" {
			v.Words = templates.Capital(w.Reason) + ". " + v.Words
		}
		return
	}
	p, _, runs := s.sweeper.Watch(w.ID)
	if !runs {
		v.Words = "About to go on."
		return
	}
	v.Trouble = p.Trouble
	if p.Plan.Expected > 0 {
		v.Part = min(1, float64(p.Tokens)/float64(p.Plan.Expected))
	}
	parts := []string{templates.Capital(p.Plan.Reason)}
	if p.Plan.Reason == "" {
		parts[0] = "Starting"
	}
	parts = append(parts, fmt.Sprintf("%d of about %d tokens", p.Tokens, p.Plan.Expected))
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
func interval(i *sweep.Interval) string {
	if i == nil {
		return "–"
	}
	return fmt.Sprintf("%s [%s, %s]", significant(i.Estimate), significant(i.Low), significant(i.High))
}

// significant writes a number with three significant digits and a real minus sign.
func significant(x float64) string {
	if math.Abs(x) < 5e-4 {
		return "0"
	}
	text := strconv.FormatFloat(x, 'g', 3, 64)
	return strings.Replace(text, "-", "−", 1)
}

// answer is what the sweep says, in a sentence.
func answer(r *sweep.Report) string {
	switch {
	case r.Outputs == 0:
		return "Nothing is decoded yet"
	case r.Best == nil:
		return "No best λ: too little is known of " + r.Objective
	}
	text := "Best λ for " + r.Objective + ": " + interval(&r.Best.Lambda)
	if r.Ticket != nil && r.Ticket.Beta != nil {
		text += ", effective β " + strings.ReplaceAll(r.Ticket.Beta.String(), "-", "−")
	}
	return text
}

func answerFacts(r *sweep.Report) (all []templates.Fact) {
	if r.Best == nil {
		return nil
	}
	add := func(name, value string) { all = append(all, templates.Fact{Name: name, Value: value}) }
	add(r.Objective+" there", interval(&r.Best.Value))
	if r.Best.Gain != nil {
		add("Better than λ = 1 by", interval(r.Best.Gain))
	}
	add("KL to the reference there", significant(r.Best.KL)+" nats")
	add("Mean |log Z| per token", significant(r.Best.LogZ)+" nats")
	if r.Beta > 0 {
		add("β₀ of the aligned model", significant(r.Beta))
	}
	if c := r.Checked; c != nil {
		add(r.Evaluation+" there (not optimised)", interval(&c.At))
	}
	if r.Cost > 0 {
		add("Judging cost, at the endpoints' prices", significant(r.Cost))
	}
	add("Rests on", fmt.Sprintf("%d samples of %d prompts", r.Outputs, r.Prompts))
	return all
}

func warnings(r *sweep.Report) (all []string) {
	if r.Best == nil {
		return nil
	}
	all = append(all, r.Best.Edges()...)
	if c := r.Checked; c != nil && c.Overoptimised {
		all = append(all, fmt.Sprintf("Over-optimised: by %s, which was not optimised, the best λ is surely lower.", r.Evaluation))
	}
	return all
}

// axis names a reward with its unit.
func axis(j sweep.Judge) string {
	name := judgeTitle(j)
	if j.Name != "" && j.Name != j.Title {
		name = j.Name
	}
	if j.Unit != "" {
		name += ", " + j.Unit
	}
	return fmt.Sprintf("%s (%s is better)", name, j.Direction)
}

// curvePlot draws a reward over λ: the curve where it is known, with gaps where it is not, and what was measured.
func curvePlot(r *sweep.Report, w *sweep.Rewarded) templates.Plot {
	p := templates.Plot{Title: templates.Capital(w.Name) + " over λ", X: "λ", Y: axis(w.Judge)}
	var band templates.PlotBand
	var line templates.PlotLine
	end := func() {
		if len(line.X) > 1 {
			p.Bands, p.Lines = append(p.Bands, band), append(p.Lines, line)
		}
		band, line = templates.PlotBand{}, templates.PlotLine{}
	}
	for _, point := range w.Curve {
		if point.Value == nil {
			end()
			continue
		}
		band.X, band.Low, band.High = append(band.X, point.Lambda), append(band.Low, point.Value.Low), append(band.High, point.Value.High)
		line.X, line.Y = append(line.X, point.Lambda), append(line.Y, point.Value.Estimate)
	}
	end()
	for _, point := range w.Points {
		if m := point.Mean; m != nil {
			p.Points = append(p.Points, templates.PlotPoint{
				X: point.Lambda, LowX: point.Lambda, HighX: point.Lambda, Y: m.Estimate, LowY: m.Low, HighY: m.High, Lambda: point.Lambda,
				Tip: fmt.Sprintf("λ = %s: %s from %d samples", significant(point.Lambda), interval(m), point.Values),
			})
		}
	}
	if w.Best != nil {
		p.Marks = append(p.Marks, templates.PlotMark{From: w.Best.Lambda.Low, To: w.Best.Lambda.High, Kind: "best", Label: "best λ " + interval(&w.Best.Lambda)})
	}
	if n := len(r.Lambdas); n > 0 && r.Lambdas[0].Lambda <= 1 && r.Lambdas[n-1].Lambda >= 1 {
		p.Marks = append(p.Marks, templates.PlotMark{From: 1, To: 1, Kind: "here", Label: "λ = 1: the aligned model"})
	}
	return p
}

// paretoPlot draws a reward over KL to the reference, a point for each λ. The first λ, the last, λ = 1 and those on the
// front are labelled; where the curve surely turns is marked.
func paretoPlot(r *sweep.Report, w *sweep.Rewarded) templates.Plot {
	p := templates.Plot{Title: templates.Capital(w.Name) + " against KL", X: "KL to the reference, nats per reply", Y: axis(w.Judge)}
	zero := 0.0
	p.FromX = &zero
	var line templates.PlotLine
	line.Kind = "faint"
	best := nearestPoint(w)
	for i, point := range w.Points {
		m, kl := point.Mean, r.Lambdas[i].KL
		if m == nil || kl == nil {
			continue
		}
		d := templates.PlotPoint{
			X: kl.Estimate, LowX: kl.Low, HighX: kl.High, Y: m.Estimate, LowY: m.Low, HighY: m.High, Lambda: point.Lambda,
			Tip: fmt.Sprintf("λ = %s: %s at KL %s", significant(point.Lambda), interval(m), interval(kl)),
		}
		if i == 0 || i == len(w.Points)-1 || point.Lambda == 1 || i == best {
			d.Label = "λ " + significant(point.Lambda)
		}
		if i == best {
			d.Kind = "best"
		} else if !point.Efficient {
			d.Kind = "second"
		}
		line.X, line.Y = append(line.X, d.X), append(line.Y, d.Y)
		p.Points = append(p.Points, d)
	}
	if len(line.X) > 1 {
		p.Lines = append(p.Lines, line)
	}
	if w.Turn != nil && w.Turn.Sure {
		p.Marks = append(p.Marks, templates.PlotMark{From: w.Turn.KL, To: w.Turn.KL, Kind: "here", Label: "the curve turns here: more KL makes it worse"})
	}
	return p
}

// nearestPoint is the decoded λ nearest to the best one; −1 without.
func nearestPoint(w *sweep.Rewarded) int {
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
	t.Columns = append(t.Columns, "KL, nats", "mean |log Z|", "tokens", "samples")
	best := -1
	if objective := r.Reward(r.Objective); objective != nil {
		best = nearestPoint(objective)
	}
	for i, l := range r.Lambdas {
		row := templates.SweepNumbersRow{Lambda: l.Lambda, Best: i == best}
		for _, w := range r.Rewards {
			row.Cells = append(row.Cells, interval(w.Points[i].Mean), interval(w.Points[i].Difference))
		}
		row.Cells = append(row.Cells, interval(l.KL), interval(l.LogZ), interval(l.Length), strconv.Itoa(l.Outputs))
		t.Rows = append(t.Rows, row)
	}
	return t
}

// ticket is the ticket of a request's sweep, nil while there is none.
func (s *Server) ticket(c echo.Context) (*sweep.Sweep, *sweep.Report, error) {
	w, err := s.found(c)
	if err != nil {
		return nil, nil, err
	}
	report, err := s.sweeper.Report(c.Request().Context(), &w)
	return &w, report, err
}

// showTicket is GET /sweeps/{id}/ticket.
func (s *Server) showTicket(c echo.Context) error {
	w, r, err := s.ticket(c)
	if err != nil {
		return err
	}
	v := templates.SweepTicket{Layout: s.layout(c, w.Title()+": ticket", "sweeps"), Sweep: sweepItem(w), Answer: answer(r), Facts: answerFacts(r)}
	if t := r.Ticket; t != nil {
		v.Sections = []templates.TicketSection{{Title: "Evidence", Items: t.Evidence}, {Title: "Assumed", Items: t.Assumptions}}
		if t.TRL != "" {
			v.Sections = append(v.Sections, templates.TicketSection{Title: "Next training", Code: t.TRL})
		}
	}
	return s.page(c, http.StatusOK, v)
}

var errNoTicket = fault.New(fault.NotFound, "the sweep has no ticket yet: no best λ is known")

// ticketMarkdown is GET /sweeps/{id}/ticket.md.
func (s *Server) ticketMarkdown(c echo.Context) error {
	w, r, err := s.ticket(c)
	if err == nil && r.Ticket == nil {
		err = errNoTicket
	}
	if err != nil {
		return err
	}
	download(c, w.Title(), "md", "text/markdown; charset=utf-8")
	return c.String(http.StatusOK, r.Ticket.Markdown())
}

// ticketJSON is GET /sweeps/{id}/ticket.json.
func (s *Server) ticketJSON(c echo.Context) error {
	w, r, err := s.ticket(c)
	if err == nil && r.Ticket == nil {
		err = errNoTicket
	}
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(r.Ticket, "", "  ")
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the ticket cannot be written as JSON")
	}
	download(c, w.Title(), "ticket.json", echo.MIMEApplicationJSON)
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, append(text, '\n'))
}

// compareSweeps is GET /sweeps/compare?id=…&id=….
func (s *Server) compareSweeps(c echo.Context) error {
	ids := c.QueryParams()["id"]
	if len(ids) != 2 || ids[0] == ids[1] {
		return fault.Field("id", "%d sweeps, where two different ones are compared", len(ids))
	}
	v := templates.SweepCompare{Layout: s.layout(c, "Comparison of sweeps", "sweeps")}
	var reports []*sweep.Report
	for _, id := range ids {
		w, err := s.sweeps.Sweep(c.Request().Context(), owner(c), id)
		if err != nil {
			return err
		}
		r, err := s.sweeper.Report(c.Request().Context(), &w)
		if err != nil {
			return err
		}
		reports = append(reports, r)
		v.Sides = append(v.Sides, templates.SweepSide{Sweep: sweepItem(&w), Answer: answer(r)})
	}
	compared := sweep.Compare(reports[0], reports[1])
	v.Warnings = compared.Warning
	v.Facts = append(v.Facts, templates.Fact{Name: "Best λ, second less first", Value: interval(compared.Lambda)})
	for _, both := range compared.Rewards {
		v.Facts = append(v.Facts, templates.Fact{Name: both.Name + " at its best, second less first", Value: interval(both.Best)})
		v.Plots = append(v.Plots, bothPlot(reports, both.Name))
		table := templates.CompareTable{Name: both.Name}
		for _, p := range both.Points {
			table.Rows = append(table.Rows, templates.CompareRow{
				Lambda: p.Lambda, First: interval(p.First), Second: interval(p.Second), Difference: interval(p.Difference),
				Clear: p.Difference != nil && p.Difference.Clear(),
			})
		}
		v.Tables = append(v.Tables, table)
	}
	return s.page(c, http.StatusOK, v)
}

// bothPlot draws a reward of two sweeps over λ, the second one dashed.
func bothPlot(reports []*sweep.Report, name string) templates.Plot {
	p := curvePlot(reports[0], reports[0].Reward(name))
	second := curvePlot(reports[1], reports[1].Reward(name))
	p.Marks = p.Marks[:0]
	for _, l := range second.Lines {
		l.Kind = "second"
		p.Lines = append(p.Lines, l)
	}
	p.Bands = append(p.Bands, second.Bands...)
	for _, d := range second.Points {
		d.Kind = "second"
		p.Points = append(p.Points, d)
	}
	return p
}
