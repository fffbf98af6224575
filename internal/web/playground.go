package web

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/web/templates"
)

// forkPrefix marks the token of a comparison in "/?from=c:{token}".
const forkPrefix = "c:"

// showPlayground is GET /: an empty bench, a session's ("?session="), a run ("?run="), or a draft taken
// from a comparison ("?from=c:{token}").
func (s *Server) showPlayground(c echo.Context) error {
	ctx := c.Request().Context()
	if id := c.QueryParam("run"); id != "" {
		run, err := s.sessions.Run(ctx, owner(c), id)
		if err != nil {
			return err
		}
		return s.bench(c, run.Session, id)
	}
	if id := c.QueryParam("session"); id != "" {
		return s.bench(c, id, "")
	}
	v := s.playground(c, "Playground")
	var err error
	if v.History, err = s.history(ctx, owner(c), "", nil, ""); err != nil {
		return err
	}
	if from := c.QueryParam("from"); from != "" {
		if cell, ok := strings.CutPrefix(from, cellPrefix); ok && s.sweeper != nil {
			return s.openCell(c, v, cell)
		}
		token, ok := strings.CutPrefix(from, forkPrefix)
		if !ok {
			return fault.Field("from", "%.40q is not c: and a share link's token", from)
		}
		found, snapshot, err := s.shares.Open(ctx, token)
		if err != nil {
			return err
		}
		spec := snapshot.Fork()
		v.Draft = draftOf(spec)
		if err := s.openLanes(&v.Draft, &spec, c.QueryParam("lanes")); err != nil {
			return err
		}
		v.Fork = &templates.Fork{Title: found.Title, URL: "/c/" + token}
		v.Begin = c.QueryParam("lanes") != ""
		v.Lanes = snapshot.Map == nil || v.Begin
		return s.page(c, http.StatusOK, v)
	}
	if lanes := c.QueryParam("lanes"); lanes != "" {
		v.Lanes = true
		if err := s.openLanes(&v.Draft, &run.Spec{}, lanes); err != nil {
			return err
		}
		return s.page(c, http.StatusOK, v)
	}
	example, err := s.example()
	if err != nil {
		return err
	}
	v.Example = example
	return s.page(c, http.StatusOK, v)
}

// showSession is GET /s/{id}: the session's newest run, or the one of "?run=". With "lanes=0.5,1" it is a draft with lanes
// at these λ and all else as in that run.
func (s *Server) showSession(c echo.Context) error {
	return s.bench(c, c.Param("id"), c.QueryParam("run"))
}

// bench is the playground of a session; run "" shows the newest.
func (s *Server) bench(c echo.Context, id, runID string) error {
	ctx := c.Request().Context()
	found, err := s.sessions.Session(ctx, owner(c), id)
	if err != nil {
		return err
	}
	runs, err := s.sessions.Runs(ctx, owner(c), id)
	if err != nil {
		return err
	}
	v := s.playground(c, found.Title)
	item := sessionItem(found)
	v.Session = &item
	var shown *run.Run
	if v.History, err = s.history(ctx, owner(c), id, runs, ""); err != nil {
		return err
	}
	for i := range runs {
		run := &runs[len(runs)-1-i] // the newest first
		if shown == nil && (runID == "" || run.ID == runID) {
			shown = run
		}
	}
	if shown == nil && runID != "" {
		return fault.New(fault.NotFound, "there is no such run in this session")
	}
	if shown != nil {
		t, err := run.ReadTexts(ctx, s.sessions, *shown)
		if err != nil {
			return err
		}
		run, err := s.runView(*shown, t)
		if err != nil {
			return err
		}
		v.Run, v.Draft = &run, draftOf(shown.Spec)
		lanes := c.QueryParam("lanes")
		if err := s.openLanes(&v.Draft, &shown.Spec, lanes); err != nil {
			return err
		}
		v.Lanes = shown.Spec.Map == nil || lanes != ""
		if lanes != "" { // of this run, which is not shown itself
			v.Run, v.Begin = nil, true
		}
	}
	return s.page(c, http.StatusOK, v)
}

// playground is an empty bench.
func (s *Server) playground(c echo.Context, title string) templates.Playground {
	return templates.Playground{
		Layout: s.layout(c, title, "playground"),
		Draft:  s.emptyDraft(),
		Pairs:  s.pairOptions(),
		Limits: limitsView(),
	}
}

// emptyDraft is what somebody starts from: five strengths from the reference to twice the alignment.
func (s *Server) emptyDraft() templates.Draft {
	d := templates.Draft{
		Pair: s.defaultPair, Mode: string(run.Chat),
		Sampling: samplingView(s.defaultSampling()), Alternatives: 5,
	}
	for _, lambda := range []float64{0, 0.5, 1, 1.5, 2} {
		d.Lanes = append(d.Lanes, templates.DraftLane{Lambda: []float64{lambda}})
	}
	return d
}

// draftOf is a draft that would do a run again.
func draftOf(spec run.Spec) templates.Draft {
	d := templates.Draft{
		Pair: spec.Pair, Aligned: spec.Aligned, System: spec.System, Prompt: spec.Prompt, Mode: string(spec.Mode),
		Sampling: samplingView(spec.Sampling), Seed: seedText(spec.Seed), Alternatives: spec.Alternatives,
	}
	if c := spec.Contrast; c != nil {
		d.Contrast = c.System + c.Context
	}
	d.Special = spec.Special
	for _, name := range slices.Sorted(maps.Keys(spec.Rendering.Variables)) {
		d.Variables = append(d.Variables, fmt.Sprintf("%s=%v", name, spec.Rendering.Variables[name]))
	}
	if m := spec.Map; m != nil {
		d.Map = &templates.DraftMap{From: m.From, To: m.To, Branches: m.Branches}
		if l := m.Line; l != nil {
			d.Map.Line = &templates.MapLine{From: l.From, To: l.To}
		}
	}
	if p := spec.Parent; p != nil {
		d.Parent = &templates.Parent{Run: p.Run, Lane: p.Lane}
	}
	for _, m := range spec.History {
		d.History = append(d.History, templates.Message{Role: m.Role, Content: m.Content})
	}
	for _, l := range spec.Lanes {
		lane := templates.DraftLane{Lambda: l.Lambda, Sample: l.Sample, Mix: laneMix(l)}
		for _, id := range l.Prefix {
			lane.Prefix = append(lane.Prefix, int32(id))
		}
		d.Lanes = append(d.Lanes, lane)
	}
	return d
}

// runItem is a run as a list shows it.
func runItem(r *run.Run) templates.RunItem {
	item := templates.RunItem{
		ID: r.ID, Pair: r.Spec.Pair, Prompt: r.Spec.Prompt, Seed: seedText(r.Spec.Seed), Status: string(r.Status), At: r.CreatedAt,
	}
	if m := r.Spec.Map; m != nil {
		item.Map = lambdaText(m.At(m.From)) + " to " + lambdaText(m.At(m.To))
	}
	for _, l := range r.Spec.Lanes {
		text := lambdaText(l.Lambda)
		if laneMix(l) != "" {
			text += " in the weights"
		}
		item.Lambdas = append(item.Lambdas, text)
	}
	return item
}

// seedText is a seed in decimal: JavaScript has no number for all of them.
func seedText(seed uint64) string { return strconv.FormatUint(seed, 10) }

// lambdaText is λ as pages show it.
func lambdaText(v decode.Vector) string { return templates.FormatLambda(v) }
