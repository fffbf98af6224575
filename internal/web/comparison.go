package web

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/run"
	"realign/internal/share"
	"realign/web/templates"
)

// showComparison is GET /c/{token}, and /c/{token}.json: a snapshot for anybody with the link. It shows
// what is stored and decodes nothing. It sets no cookie.
func (s *Server) showComparison(c echo.Context) error {
	token, asJSON := strings.CutSuffix(c.Param("token"), ".json")
	found, snapshot, err := s.shares.Open(c.Request().Context(), token)
	if err != nil {
		return err
	}
	if asJSON {
		form, digest, err := snapshot.Canonical()
		if err != nil {
			return err
		}
		h := c.Response().Header()
		h.Set("Cache-Control", "private, no-cache")
		h.Set("ETag", `"`+digest+`"`)
		h.Set("Content-Disposition", `inline; filename="realign-comparison.json"`)
		if c.Request().Header.Get("If-None-Match") == `"`+digest+`"` {
			return c.NoContent(http.StatusNotModified)
		}
		return c.JSONBlob(http.StatusOK, form)
	}
	v, err := s.comparisonView(c, token, found, snapshot)
	if err != nil {
		return err
	}
	return s.page(c, http.StatusOK, v)
}

// comparisonView is the page of a comparison, with what other sites show of a link to it.
func (s *Server) comparisonView(c echo.Context, token string, found share.Link, snapshot *share.Snapshot) (templates.Comparison, error) {
	run, err := s.snapshotView(snapshot)
	if err != nil {
		return templates.Comparison{}, err
	}
	path := "/c/" + token
	v := templates.Comparison{
		Layout: s.layout(c, found.Title, ""), Path: path, Title: found.Title,
		Created: found.CreatedAt, Expires: found.ExpiresAt, Run: run,
	}
	said := fmt.Sprintf("One prompt, %d lanes of different alignment strength, decoded by %s.", len(run.Lanes), snapshot.Pair)
	alt := "The prompt and the first words of its lanes at λ " + strings.Join(lambdas(snapshot), ", ")
	if run.Map != nil {
		run.Map.LanesURL = "/?from=" + forkPrefix + token + "&lanes="
		said = fmt.Sprintf("One prompt, and what is said at every λ from %s to %s: %d texts, decoded by %s.",
			lambdaText(decode.Vector{run.Map.From}), lambdaText(decode.Vector{run.Map.To}), len(run.Map.Branches), snapshot.Pair)
		alt = "The prompt and the first words of its texts along λ"
	}
	if v.Run.Origin, err = s.originView(snapshot); err != nil {
		return templates.Comparison{}, err
	}
	v.Verified = found.VerifiedAt
	if me := owner(c); me != "" && me == found.Owner {
		v.ShareID = found.ID
	}
	v.NoIndex = true // a link is for those it was given to
	v.Description = said
	v.OpenGraph = &templates.OpenGraph{
		Title: found.Title, Description: v.Description,
		URL: s.absolute(c, path), Image: s.absolute(c, path+"/picture.png"),
		ImageAlt: alt,
	}
	return v, nil
}

// originView is what a page says of where a snapshot was decoded.
func (s *Server) originView(snapshot *share.Snapshot) (templates.Origin, error) {
	origin, err := snapshot.Origin(s.shares.Signer)
	v := templates.Origin{Kind: string(origin)}
	if snapshot.Seal != nil {
		v.Digest, v.Key = snapshot.Seal.Digest, snapshot.Seal.Key
	}
	return v, err
}

// showKey is GET /key: the public key that this server signs what it decodes with.
func (s *Server) showKey(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"algorithm": "ed25519", "key": s.shares.Signer.Key()})
}

// snapshotView shows a snapshot the way a run is shown.
func (s *Server) snapshotView(snapshot *share.Snapshot) (templates.Run, error) {
	r := run.Run{Spec: snapshot.Fork(), Status: run.Ended, CreatedAt: snapshot.CreatedAt}
	r.Spec.Files, r.Spec.Build = snapshot.Files, snapshot.Build
	t := run.Transcript{Prompt: snapshot.PromptTokens}
	if snapshot.Map != nil {
		t.Map = snapshot.Map.State()
	}
	for _, l := range snapshot.Lanes {
		t.Lanes = append(t.Lanes, run.Lane{
			Lane: l.Lane, Text: l.Text, Tokens: l.Tokens, KLReference: l.KLReference, KLAligned: l.KLAligned,
			Reason: l.Reason, Error: l.Error, Exact: l.Exact,
		})
	}
	if t.Failed() {
		r.Status = run.Failed
	}
	return s.runView(r, &t)
}

// lambdas are those of a snapshot's lanes, as pages show them.
func lambdas(snapshot *share.Snapshot) []string {
	var texts []string
	for _, l := range snapshot.Lanes {
		texts = append(texts, lambdaText(l.Lambda))
	}
	return texts
}

// showPicture is GET /c/{token}/picture.png.
func (s *Server) showPicture(c echo.Context) error {
	found, snapshot, err := s.shares.Open(c.Request().Context(), c.Param("token"))
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "private, no-cache") // it must go when the link goes
	h.Set("ETag", `"`+found.Digest+`"`)
	if c.Request().Header.Get("If-None-Match") == `"`+found.Digest+`"` {
		return c.NoContent(http.StatusNotModified)
	}
	picture, err := s.ogImages.draw(found.Digest, cardOf(snapshot))
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "image/png", picture)
}

// cardOf is the picture of a snapshot: its lanes, or the texts of its map, shaded from the least to the most
// aligned.
func cardOf(snapshot *share.Snapshot) ogImage {
	c := ogImage{Prompt: snapshot.Prompt, Pair: snapshot.Pair}
	var low, high float64
	for i, l := range snapshot.Lanes {
		x := sum(l.Lambda)
		if i == 0 {
			low, high = x, x
		}
		low, high = min(low, x), max(high, x)
	}
	for _, l := range snapshot.Lanes {
		shade := 0.5
		if high > low {
			shade = (sum(l.Lambda) - low) / (high - low)
		}
		c.Lanes = append(c.Lanes, cardLane{
			Label: "λ " + lambdaText(l.Lambda), Shade: shade, Text: l.Text, Failed: l.Error != nil,
		})
	}
	if m := snapshot.Map; m != nil {
		for _, b := range m.Continue {
			c.Lanes = append(c.Lanes, cardLane{
				Label: "λ " + lambdaText(decode.Vector{b.From}) + "–" + lambdaText(decode.Vector{b.To}),
				Shade: (b.From - m.From) / max(m.To-m.From, 1e-9), Text: strings.Join(b.Pieces, ""), Failed: b.Reason == decode.EndError,
			})
		}
	}
	return c
}

// sum is Σ of a vector: how far a mixture of several aligned models goes.
func sum(v []float64) (total float64) {
	for _, x := range v {
		total += x
	}
	return total
}
