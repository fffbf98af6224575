package web

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"realign/internal/agreement"
	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/stat"
	"realign/internal/study"
	"realign/internal/sweep"
	"realign/web/templates"
)

// compared is the agreement of a study's people with the rewards of all sweeps about the same outputs.
func (s *Server) compared(c echo.Context) (*study.Study, map[string]sweep.Sweep, *agreement.Report, error) {
	ctx := c.Request().Context()
	st, err := s.studies.Study(ctx, owner(c), c.Param("id"))
	if err != nil {
		return nil, nil, nil, err
	}
	if err := judgeable(&st); err != nil {
		return nil, nil, nil, err
	}
	ratings, err := s.studies.Ratings(ctx, st.ID)
	if err != nil {
		return nil, nil, nil, err
	}
	in := agreement.Input{Answers: study.Sort(ratings)}
	if in.Results, _, err = s.resultCache.Results(ctx, &st); err != nil {
		return nil, nil, nil, err
	}
	outputs, err := s.studies.StudyOutputs(ctx, st.ID)
	if err != nil {
		return nil, nil, nil, err
	}
	sweeps, err := s.experiments.SweepsOver(ctx, owner(c), st.Experiment)
	if err != nil {
		return nil, nil, nil, err
	}
	byID := map[string]sweep.Sweep{}
	for i := range sweeps {
		w := &sweeps[i]
		byID[w.ID] = *w
		report, err := s.sweeper.Report(ctx, w)
		if err != nil {
			return nil, nil, nil, err
		}
		values, err := s.judgedOutputs(ctx, w, outputs)
		if err != nil {
			return nil, nil, nil, err
		}
		for k := range report.Rewards {
			r := &report.Rewards[k]
			in.Rewards = append(in.Rewards, agreement.Reward{Sweep: w.ID, Report: r, Values: values[r.Name]})
		}
	}
	return &st, byID, agreement.Compare(in), nil
}

// judgedOutputs are the values that a sweep's rewards gave outputs of a study, by reward and by the output's id.
func (s *Server) judgedOutputs(ctx context.Context, w *sweep.Sweep, outputs []study.Output) (map[string]map[string]float64, error) {
	ids := map[experiment.Cell]string{}
	prompts := map[int]bool{}
	for i := range outputs {
		if o := &outputs[i]; !o.Broken {
			ids[o.Cell()] = o.ID
			prompts[o.Source] = true
		}
	}
	values := map[string]map[string]float64{}
	take := func(o sweep.Output) error {
		id, ok := ids[o.Cell]
		if !ok {
			return nil
		}
		for name, v := range o.Rewards {
			if values[name] == nil {
				values[name] = map[string]float64{}
			}
			if v.OK() {
				values[name][id] = v.Value
			}
		}
		return nil
	}
	if 4*len(prompts) > len(w.Setup.Config.Prompts.Rows) {
		return values, s.sweeps.EachOutput(ctx, w.ID, nil, false, take)
	}
	for prompt := range prompts { // a few prompts of a large sweep
		if err := s.sweeps.EachOutput(ctx, w.ID, &prompt, false, take); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// showAgreement is GET /studies/{id}/agreement: whether rewards and people agree about the study's answers.
func (s *Server) showAgreement(c echo.Context) error {
	st, sweeps, report, err := s.compared(c)
	if err != nil {
		return err
	}
	v := templates.StudyAgreement{
		Layout: s.layout(c, "Rewards and people: "+st.Setup.Title, "studies"), Study: st.ID, Name: st.Setup.Title,
		Answer: agreementAnswer(report), Facts: agreementFacts(report), Notes: agreementNotes(report), Plots: agreementPlots(report),
	}
	if len(report.Rewards) > 0 {
		for _, p := range report.Rewards[0].Parts {
			v.Categories = append(v.Categories, p.Category)
		}
	}
	for i := range report.Rewards {
		r := &report.Rewards[i]
		w := sweeps[r.Sweep]
		row := templates.RewardAgreement{
			Title: r.Title, Sweep: w.Title(), Path: "/sweeps/" + r.Sweep, Share: percent(r.Overall.Share), Pairs: r.Overall.Pairs,
			Ties: r.Overall.RewardTies, Unjudged: r.Overall.Unjudged, Correlation: "–", Verdict: verdict(&r.Overall),
		}
		if r.Correlation != nil {
			row.Correlation = minusSigns(strconv.FormatFloat(*r.Correlation, 'f', 2, 64))
		}
		for _, p := range r.Parts {
			row.Categories = append(row.Categories, templates.CategoryAgreement{Share: percent(p.Share), Pairs: p.Pairs})
		}
		v.Rewards = append(v.Rewards, row)
	}
	return s.page(c, http.StatusOK, v)
}

// agreementAnswer is the comparison in a sentence.
func agreementAnswer(r *agreement.Report) string {
	if len(r.Rewards) == 0 {
		return "No reward has judged these answers yet"
	}
	first := &r.Rewards[0]
	switch p := first.Overall.Share; {
	case r.People.Pairs == 0:
		return "Nobody has preferred one answer to another yet"
	case p == nil:
		return "No two answers that people told apart are both judged"
	case p.Low > 0.5:
		return fmt.Sprintf("%s agrees with people surely more often than a coin: in %s of the pairs that they told apart", first.Title, percent(p))
	}
	return "No reward agrees with people surely more often than a coin would"
}

// verdict is what the interval of a share says of a reward.
func verdict(p *agreement.Part) string {
	switch {
	case p.Share == nil:
		return "not known"
	case p.Share.Low > 0.5:
		return "agrees"
	case p.Share.High < 0.5:
		return "disagrees"
	}
	return "not told"
}

// agreementFacts are what is compared, in numbers: those of People.
func agreementFacts(r *agreement.Report) []templates.Fact {
	p := &r.People
	facts := []templates.Fact{
		{Name: "Pairs that people told apart", Value: strconv.Itoa(p.Pairs)}, {Name: "Ties, left out", Value: strconv.Itoa(p.Ties)},
		{Name: "Prompts", Value: strconv.Itoa(p.Prompts)}, {Name: "Annotators", Value: strconv.Itoa(p.Annotators)},
	}
	if p.Peers != nil {
		facts = append(facts, templates.Fact{
			Name: "Two annotators prefer the same answer", Value: fmt.Sprintf("%.0f%% of %d times that both told it apart", 100**p.Peers, p.PeerPairs),
		})
	}
	return facts
}

// fewPeople is how many annotators a statement about people in general needs.
const fewPeople = 6

// agreementNotes say whom the intervals are about, and why there is no correlation.
func agreementNotes(r *agreement.Report) (notes []string) {
	switch n := r.People.Annotators; {
	case r.People.Pairs == 0:
	case n == 1:
		notes = append(notes, "One annotator answered: the intervals are about that one, and prompts like these.")
	case n < fewPeople:
		notes = append(notes, fmt.Sprintf("%d annotators answered: that is few to speak of people in general, and the intervals are wide for it.", n))
	default:
		notes = append(notes, fmt.Sprintf("The intervals are about people like these %d annotators and prompts like these %d.", n, r.People.Prompts))
	}
	if r.People.Pairs > 0 && len(r.People.Curve) == 0 {
		notes = append(notes, "There is no curve u(λ) of these answers yet, and so no correlation of curves.")
	}
	return notes
}

// percent writes a share with its interval.
func percent(i *stat.Interval) string {
	if i == nil {
		return "–"
	}
	return fmt.Sprintf("%.0f%% [%.0f%%, %.0f%%]", 100*i.Estimate, 100*i.Low, 100*i.High)
}

// agreementPlots are u(λ) and each reward over one λ axis.
func agreementPlots(r *agreement.Report) (plots []templates.Plot) {
	from, to := math.Inf(1), math.Inf(-1)
	add := func(title, y string, points []agreement.Point) {
		if len(points) == 0 {
			return
		}
		p := templates.Plot{Title: title, X: "λ", Y: y, FromX: &from, ToX: &to, Small: true}
		var line templates.PlotLine
		var band templates.PlotBand
		for _, d := range points {
			v := drawn(d.Value)
			line.X, line.Y = append(line.X, d.Lambda), append(line.Y, v.Estimate)
			band.X, band.Low, band.High = append(band.X, d.Lambda), append(band.Low, v.Low), append(band.High, v.High)
			from, to = math.Min(from, d.Lambda), math.Max(to, d.Lambda)
		}
		p.Lines, p.Bands = append(p.Lines, line), append(p.Bands, band)
		plots = append(plots, p)
	}
	add("People: u(λ)", "log-odds of being preferred", r.People.Curve)
	for i := range r.Rewards {
		w := &r.Rewards[i]
		y := w.Title
		if w.Unit != "" {
			y += ", " + w.Unit
		}
		if w.Direction == sweep.Lower {
			y += " (less is better)"
		}
		add(w.Title, y, w.Curve)
	}
	return plots
}

// agreementJSON is GET /studies/{id}/agreement.json: every number of the page.
func (s *Server) agreementJSON(c echo.Context) error {
	_, _, report, err := s.compared(c)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusOK, report)
}

// agreementCSV is GET /studies/{id}/agreement.csv: a row for each reward, over all prompts and of each category.
func (s *Server) agreementCSV(c echo.Context) error {
	st, _, report, err := s.compared(c)
	if err != nil {
		return err
	}
	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil {
		return fault.Wrap(err, fault.Internal, "the table could not be written")
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Disposition", attachment(st.Setup.Title, "-agreement.csv"))
	return c.Blob(http.StatusOK, "text/csv; charset=utf-8", table.Bytes())
}
