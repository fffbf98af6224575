package web

import (
	"net/http"
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
	}
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
	for i := range runs {
		run := &runs[len(runs)-1-i] // the newest first
		v.History = append(v.History, runItem(run))
		if shown == nil && (runID == "" || run.ID == runID) {
			shown = run
		}
	}
	if shown == nil && runID != "" {
		return fault.New(fault.NotFound, "there is no such run in this session")
	}
	if shown != nil {
		t, err := run.ReadTranscript(ctx, s.sessions, *shown)
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
		if lanes != "" { // of this run, which is not shown itself
			v.Run = nil
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
	if m := spec.Map; m != nil {
		d.Map = &templates.DraftMap{From: m.From, To: m.To, Branches: m.Branches}
	}
	if p := spec.Parent; p != nil {
		d.Parent = &templates.Parent{Run: p.Run, Lane: p.Lane}
	}
	for _, m := range spec.History {
		d.History = append(d.History, templates.Message{Role: m.Role, Content: m.Content})
	}
	for _, l := range spec.Lanes {
		lane := templates.DraftLane{Lambda: l.Lambda, Sample: l.Sample}
		for _, id := range l.Prefix {
			lane.Prefix = append(lane.Prefix, int32(id))
		}
		d.Lanes = append(d.Lanes, lane)
	}
	return d
}

func runItem(r *run.Run) templates.RunItem {
	item := templates.RunItem{
		ID: r.ID, Prompt: r.Spec.Prompt, Seed: seedText(r.Spec.Seed), Status: string(r.Status), At: r.CreatedAt,
	}
	if m := r.Spec.Map; m != nil {
		item.Map = lambdaText(decode.Vector{m.From}) + " to " + lambdaText(decode.Vector{m.To})
	}
	for _, l := range r.Spec.Lanes {
		item.Lambdas = append(item.Lambdas, lambdaText(l.Lambda))
	}
	return item
}

func seedText(seed uint64) string { return strconv.FormatUint(seed, 10) }

// lambdaText is λ as pages show it.
func lambdaText(v decode.Vector) string { return templates.FormatLambda(v) }
