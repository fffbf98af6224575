package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/pair/catalogue"
	"realign/internal/pair/manage"
	"realign/internal/pair/modelstore"
	"realign/web/templates"
)

// manageRoutes are those of whoever administers the server's pairs.
func (s *Server) manageRoutes(e *echo.Echo, page, change []echo.MiddlewareFunc) {
	e.GET("/pairs/add", s.showPairForm, page...)
	e.GET("/pairs/pulls", s.showPulls, page...)
	e.POST("/pairs/add", s.addPair, change...)
	e.POST("/pairs/pull", s.pullModel, change...)
	e.POST("/pairs/pull/stop", s.stopPull, change...)
	e.POST("/pairs/:name/check", s.checkPair, change...)
	e.POST("/pairs/:name/remove", s.removePair, change...)
}

// manageView is what was found on the machine and is being fetched.
func (s *Server) manageView(ctx context.Context) (*templates.PairManage, error) {
	listing, proposals, err := s.manager.Found(ctx)
	if err != nil {
		return nil, err
	}
	v := &templates.PairManage{Models: foundModels(listing.Models)}
	folders := map[string]bool{}
	for _, m := range listing.Models {
		folders[m.Name] = m.Format != modelstore.GGUF
	}
	for _, p := range proposals {
		if folders[p.Reference] || folders[p.Aligned] {
			v.Proposals = append(v.Proposals, templates.FoundPair{Reference: p.Reference, Aligned: p.Aligned, Reason: p.Reason, Command: p.Command})
			continue
		}
		query := url.Values{"name": {p.Name}, "reference": {p.Reference}, "aligned": {p.Aligned}, "check": {"1"}}
		if p.Beta > 0 {
			query.Set("beta", decode.FormatNumber(p.Beta))
		}
		v.Proposals = append(v.Proposals, templates.FoundPair{
			Reference: p.Reference, Aligned: p.Aligned, Reason: p.Reason, Address: "/pairs/add?" + query.Encode(),
		})
	}
	for _, b := range listing.Broken {
		v.Broken = append(v.Broken, templates.Fact{Name: b.Path, Value: b.Reason})
	}
	for _, p := range s.manager.Pulls() {
		v.Pulls = append(v.Pulls, templates.PullItem{Name: p.Name, State: p.State, Error: p.Error, Got: p.Got, Done: p.Done, Total: p.Total})
	}
	return v, nil
}

// foundModels are models as the page lists them. Folders that are not GGUF cannot be used there.
func foundModels(models []modelstore.Model) (found []templates.FoundModel) {
	for _, m := range models {
		found = append(found, templates.FoundModel{
			Name: m.Name, Architecture: m.Architecture, Quantisation: m.Quantisation, Tokenizer: m.Tokenizer, Bytes: m.Size, Adapter: m.Adapter,
			Usable: m.Format == modelstore.GGUF,
		})
	}
	return found
}

// knownPairs is the catalogue.
func knownPairs() (known []templates.KnownPair) {
	for _, p := range catalogue.Pairs() {
		k := templates.KnownPair{Name: p.Name, Title: p.Title, Licence: p.Licence}
		k.Commands = []string{"realign pairs pull " + p.Name}
		add := func(m catalogue.Model) {
			if m.GGUF != "" {
				k.Fetch = append(k.Fetch, "hf:"+m.GGUF+":Q8_0")
			}
		}
		add(p.Reference)
		k.Facts = append(k.Facts, templates.Fact{Name: "reference", Value: p.Reference.Repository})
		for _, a := range p.Aligned {
			add(a.Model)
			k.Facts = append(k.Facts, templates.Fact{Name: a.Name, Value: a.Repository + ": " + a.Explain()})
		}
		k.Facts = append(k.Facts, templates.Fact{Name: "size of a model", Value: p.Sizes()}, templates.Fact{Name: "chat template", Value: p.Template})
		for _, preset := range p.Presets {
			k.Facts = append(k.Facts, templates.Fact{Name: preset.Name, Value: "λ " + strings.Join(preset.Lambda, ", ") + ": " + preset.Prompt})
		}
		if len(p.Unverified) > 0 {
			k.Facts = append(k.Facts, templates.Fact{Name: "not verified", Value: strings.Join(p.Unverified, ", ")})
		}
		known = append(known, k)
	}
	return known
}

// pairFields are those of the form that adds a pair.
var pairFields = []string{"name", "title", "reference", "aligned", "aligned_name", "beta", "scale", "untuned", "system", "context"}

// draftPair reads the form that adds a pair.
func draftPair(c echo.Context) (d manage.Draft, fields map[string]string, err error) {
	fields = map[string]string{}
	for _, name := range pairFields {
		fields[name] = strings.TrimSpace(c.FormValue(name))
	}
	d = manage.Draft{
		Name: fields["name"], Title: fields["title"], Reference: fields["reference"], AlignedName: fields["aligned_name"], Aligned: fields["aligned"],
		Untuned: fields["untuned"], Contrast: decode.Contrast{System: fields["system"], Context: fields["context"]},
	}
	if fields["beta"] != "" {
		if d.Beta, err = decode.ParseNumber("beta", fields["beta"]); err == nil && !(d.Beta > 0) {
			err = fault.Field("beta", "%.40q is not a positive number", fields["beta"])
		}
	}
	if fields["scale"] != "" && err == nil {
		if d.Scale, err = decode.ParseNumber("scale", fields["scale"]); err == nil && d.Scale == 0 {
			err = fault.Field("scale", "is 0, which would leave the adapter out")
		}
	}
	return d, fields, err
}

// showPairForm is GET /pairs/add, or POST with "check": the form, and with "check" what is known of the models that were chosen.
func (s *Server) showPairForm(c echo.Context) error {
	d, fields, err := draftPair(c)
	if c.FormValue("check") == "" {
		return s.pairForm(c, http.StatusOK, fields, nil, nil)
	}
	var findings []pair.Found
	if err == nil {
		findings, err = s.manager.Findings(c.Request().Context(), &d)
	}
	if err == nil && findings == nil {
		findings = []pair.Found{}
	}
	return s.pairForm(c, http.StatusOK, fields, findings, err)
}

// pairForm is the page with the form; findings nil means that nothing was looked at.
func (s *Server) pairForm(c echo.Context, status int, fields map[string]string, findings []pair.Found, wrong error) error {
	listing, _, err := s.manager.Found(c.Request().Context())
	if err != nil {
		return err
	}
	v := templates.PairForm{Layout: s.layout(c, "Add a pair", "pairs"), Models: foundModels(listing.Models), Fields: fields, Checked: findings != nil && wrong == nil}
	if wrong != nil {
		f, code := outside(wrong)
		if code >= http.StatusInternalServerError {
			return wrong
		}
		v.Error, v.Field, status = f.Error(), f.Field, code
	}
	v.Findings = findingFacts(findings)
	v.Faulty = slices.ContainsFunc(findings, pair.Found.Faulty)
	return s.page(c, status, v)
}

// addPair is POST /pairs/add. What is wrong is told on the form.
func (s *Server) addPair(c echo.Context) error {
	if c.FormValue("check") != "" {
		return s.showPairForm(c)
	}
	d, fields, err := draftPair(c)
	if err == nil {
		err = s.manager.Add(c.Request().Context(), &d)
	}
	if err != nil {
		if wantsJSON(c.Request()) {
			return err
		}
		return s.pairForm(c, http.StatusOK, fields, nil, err)
	}
	return s.done(c, "The pair "+d.Name+" is added.", "", "/pairs/"+url.PathEscape(d.Name))
}

// removePair is POST /pairs/{name}/remove. The default pair stays.
func (s *Server) removePair(c echo.Context) error {
	name := c.Param("name")
	if name == s.defaultPair {
		return fault.New(fault.Conflict, "%s is the pair that the server starts with", name)
	}
	if err := s.manager.Remove(name); err != nil {
		return err
	}
	return s.done(c, "The pair "+name+" is removed. The files of its models are where they were.", "", "/pairs")
}

// checkPair is POST /pairs/{name}/check: the pair's page with what loading its models found. One pair is checked at
// a time.
func (s *Server) checkPair(c echo.Context) error {
	select {
	case s.checking <- struct{}{}:
		defer func() { <-s.checking }()
	default:
		return fault.New(fault.Busy, "a pair is being checked: wait until that is done")
	}
	lines, err := s.manager.Check(c.Request().Context(), c.Param("name"))
	if lines == "" && err != nil {
		return err
	}
	return s.pairPage(c, lines)
}

// pullModel is POST /pairs/pull: "model".
func (s *Server) pullModel(c echo.Context) error {
	name := strings.TrimSpace(c.FormValue("model"))
	if err := s.manager.Pull(name); err != nil {
		return err
	}
	return s.done(c, name+" is being fetched.", "", "/pairs#fetch-title")
}

// stopPull is POST /pairs/pull/stop: "model".
func (s *Server) stopPull(c echo.Context) error {
	if err := s.manager.StopPull(c.FormValue("model")); err != nil {
		return err
	}
	return s.done(c, "The fetch is stopped. What has come is kept.", "", "/pairs#fetch-title")
}

// showPulls is GET /pairs/pulls: how far fetches are, for the page's script.
func (s *Server) showPulls(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{"pulls": s.manager.Pulls()})
}

// templateView is the chat template of a pair: its own, or the reference's.
func templateView(source, name, own string) (text, from string) {
	switch {
	case source != "":
		return source, "of the pair, in place of the models'"
	case name != "":
		return name, "the well-known template of that name, in place of the models'"
	}
	return own, "of the reference, " + strconv.Itoa(len(own)) + " bytes"
}
