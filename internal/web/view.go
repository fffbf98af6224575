package web

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/run"
	"realign/web/templates"
)

// view is a filled view model of web/templates.
type view interface {
	Page() templ.Component
}

// page renders a whole page before it sends anything, so that a template that fails leaves no half page.
func (s *Server) page(c echo.Context, status int, v view) error {
	var buf bytes.Buffer
	if err := v.Page().Render(templates.WithWords(c.Request().Context()), &buf); err != nil {
		return fault.Wrap(err, fault.Internal, "the page could not be made")
	}
	if c.Response().Header().Get("Cache-Control") == "" {
		c.Response().Header().Set("Cache-Control", "no-store") // pages show what is one's own
	}
	return c.HTMLBlob(status, s.base.page(buf.Bytes()))
}

// layout is what every page has.
func (s *Server) layout(c echo.Context, title, nav string) templates.Layout {
	l := templates.Layout{Title: title, Nav: nav, CSRF: csrfToken(c), Build: s.build, Toast: s.takeToast(c)}
	if login, err := s.auth.holds(c.Request().Context(), s.cookieValue(c.Request(), loginCookie)); err == nil {
		l.LoggedIn = login != ""
	}
	if k, err := c.Cookie("theme"); err == nil && (k.Value == "light" || k.Value == "dark") {
		l.Theme = k.Value
	}
	return l
}

// errorView is the page of an error.
func (s *Server) errorView(c echo.Context, status int, f *fault.Error) view {
	e := templates.Error{
		Layout: s.layout(c, http.StatusText(status), ""),
		Status: status, Code: string(f.Kind), Message: f.Message, Field: f.Field, Request: requestID(c),
	}
	e.NoIndex = true
	if f.Kind == fault.Busy {
		e.RetryAfter = retryAfter
	}
	return e
}

// limitsView are the limits of runs that the playground checks.
func limitsView() templates.Limits {
	return templates.Limits{
		Lanes: decode.MaxLanes, PromptBytes: decode.MaxPromptBytes, MaxTokens: decode.MaxTokensLimit,
		LambdaMin: decode.MinLambda, LambdaMax: decode.MaxLambda, Fields: boundsView(decode.Bounds()),
	}
}

// boundsView are bounds of fields as pages have them.
func boundsView(table []decode.Bound) (fields []templates.Bound) {
	for _, b := range table {
		fields = append(fields, templates.Bound(b))
	}
	return fields
}

// samplingView is sampling as pages show it.
func samplingView(s decode.Sampling) templates.Sampling {
	return templates.Sampling{
		MaxTokens: s.MaxTokens, Temperature: s.Temperature, TopK: s.TopK, TopP: s.TopP, MinP: s.MinP,
		RepeatPenalty: s.RepeatPenalty, PresencePenalty: s.PresencePenalty, FrequencyPenalty: s.FrequencyPenalty,
		PenaltyWindow: s.PenaltyWindow, Exact: s.Exact, Stop: s.Stop, IgnoreEnd: s.IgnoreEnd,
	}
}

// runView is a run with all that was decoded. What the pair states of its models comes from the pair, if
// it is still there.
func (s *Server) runView(r run.Run, t *run.Transcript) (templates.Run, error) {
	spec := r.Spec
	j, err := json.Marshal(spec)
	if err != nil {
		return templates.Run{}, fault.Wrap(err, fault.Internal, "the run cannot be shown")
	}
	v := templates.Run{
		ID: r.ID, Status: string(r.Status), Seq: r.Seq, SpecJSON: string(j),
		Pair: spec.Pair, Aligned: s.alignedView(spec.Pair, spec.Aligned), Mode: string(spec.Mode),
		System: spec.System, Prompt: spec.Prompt, Sampling: samplingView(spec.Sampling), Seed: seedText(spec.Seed),
		Build: spec.Build, At: r.CreatedAt, Origin: templates.Origin{Kind: string(run.DecodedHere)},
	}
	if in := r.Imported; in != nil {
		v.Origin.Kind = string(in.Found)
		if in.Seal != nil {
			v.Origin.Key, v.Origin.Digest = in.Seal.Key, in.Seal.Digest
		}
	}
	for i := range v.Aligned {
		if c := spec.Contrast; c != nil && v.Aligned[i].Contrast != "" {
			v.Aligned[i].Contrast = c.System + c.Context
			v.Aligned[i].Kind = (&pair.Aligned{Contrast: c}).Kind()
		}
	}
	for _, m := range spec.History {
		v.History = append(v.History, templates.Message{Role: m.Role, Content: m.Content})
	}
	for _, f := range spec.Files {
		v.Files = append(v.Files, templates.File{Role: f.Role, Name: f.Name, SHA256: f.SHA256})
	}
	for _, id := range t.Prompt {
		v.PromptTokens = append(v.PromptTokens, int32(id))
	}
	words := trust(&spec, t.Lanes)
	for i := range t.Lanes {
		v.Lanes = append(v.Lanes, laneView(&t.Lanes[i]))
		v.Lanes[i].Trust = words[i]
	}
	if t.Map != nil {
		v.Map = mapView(t.Map, &spec)
		v.Map.Aligned = v.Aligned
		if r.ID != "" {
			v.Map.Fragments = "/runs/" + r.ID + "/map"
			v.Map.LanesURL = "/s/" + r.Session + "?run=" + r.ID + "&lanes="
		}
		for _, stats := range t.Stats {
			v.Map.Rows += stats.Rows["reference"] + stats.Rows["aligned"]
			v.Map.Seconds += stats.Seconds
		}
	}
	v.Seq = t.Seq
	return v, nil
}

// laneView is a lane with its tokens as far as it has come.
func laneView(l *run.Lane) templates.Lane {
	v := templates.Lane{
		Index: l.Index, Lambda: l.Lambda, Sample: l.Sample, Mix: laneMix(l.Lane), Prefix: len(l.Prefix), Reason: l.Reason,
		Tokens: make([]templates.Token, 0, len(l.Tokens)),
	}
	if l.Error != nil {
		v.Error = l.Error.Message
	}
	said := 0
	for _, t := range l.Tokens {
		v.Tokens = append(v.Tokens, tokenView(t))
		said += len(t.Text)
	}
	v.Tail = l.Text[min(said, len(l.Text)):] // what was held back until the lane ended
	return v
}

// laneMix is what pages say that λ mixes in a lane: "" is the logits.
func laneMix(l decode.Lane) string {
	if decode.InWeights(l.Mix) {
		return decode.MixWeights
	}
	return ""
}

// tokenView is a token; its numbers are there where it was traced. With several aligned models the first one's are
// shown.
func tokenView(t run.Token) templates.Token {
	v := templates.Token{ID: int32(t.ID), Text: t.Text, Name: t.Name, Lambda: t.Lambda}
	if t.Logp != nil && len(t.Logp.Aligned) > 0 && t.KLReference != nil {
		v.Traced = true
		v.Reference, v.Aligned, v.Mixture = t.Logp.Reference, t.Logp.Aligned[0], t.Logp.Mixture
		v.KL = *t.KLReference
	}
	return v
}

// alignedView is a pair's aligned models by name, with what the pair states of them.
func (s *Server) alignedView(name string, aligned []string) []templates.AlignedModel {
	known := map[string]templates.AlignedModel{}
	if p, err := s.library.Find(name); err == nil {
		for _, m := range alignedModels(p) {
			known[m.Name] = m
		}
	}
	models := make([]templates.AlignedModel, 0, len(aligned))
	for _, a := range aligned {
		m, ok := known[a]
		if !ok {
			m.Name = a
		}
		models = append(models, m)
	}
	return models
}
