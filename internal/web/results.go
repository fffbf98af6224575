package web

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/share"
	"realign/internal/study"
	"realign/web/templates"
)

// Ratings is where the answers of studies are kept, as their results are made of them.
type Ratings interface {
	Ratings(ctx context.Context, id string) ([]study.Rating, error)
	// StudyOutputs are all outputs of a study, with their texts.
	StudyOutputs(ctx context.Context, id string) ([]study.Output, error)
	// ImportStudy keeps a study of which fill gives the parts: all of it or nothing.
	ImportStudy(ctx context.Context, fill func(study.Importing) error) error
}

// showResults is GET /studies/{id}/results: what the answers say so far, and the links to results that were frozen.
func (s *Server) showResults(c echo.Context) error {
	v, err := s.ownResults(c)
	if err != nil {
		return err
	}
	made, err := s.shares.List(c.Request().Context(), owner(c))
	if err != nil {
		return err
	}
	last, _ := s.readToast(c)
	for i := range made {
		if made[i].Kind != share.ResultsLink || made[i].Subject != v.Study {
			continue
		}
		item := s.shareItem(&made[i])
		if last.Token != "" && last.Share == item.ID {
			item.URL = s.absolute(c, linkPath(share.ResultsLink)+last.Token)
			v.New = &item
		}
		v.Links = append(v.Links, item)
	}
	return s.page(c, http.StatusOK, v)
}

// ownResults is the results of one of the viewer's studies.
func (s *Server) ownResults(c echo.Context) (templates.StudyResults, error) {
	st, err := s.studies.Study(c.Request().Context(), owner(c), c.Param("id"))
	if err != nil {
		return templates.StudyResults{}, err
	}
	results, version, err := s.resultCache.Results(c.Request().Context(), &st)
	if err != nil {
		return templates.StudyResults{}, err
	}
	v := templates.StudyResults{
		Layout: s.layout(c, "Results: "+st.Setup.Title, "studies"), Name: st.Setup.Title, Result: resultView(results, st.Setup.Pair, st.Setup.Aligned),
		Path: "/studies/" + st.ID + "/results", Study: st.ID, Live: st.Status != study.Closed, At: s.now(),
	}
	v.Result.Version = version
	return v, nil
}

// liveResults is GET /studies/{id}/results/live: what the page puts in place of older results. The ETag is the
// version of the answers, so asking again costs little.
func (s *Server) liveResults(c echo.Context) error {
	ctx := c.Request().Context()
	st, err := s.studies.Study(ctx, owner(c), c.Param("id"))
	if err != nil {
		return err
	}
	version, err := s.resultCache.Version(ctx, st.ID)
	if err != nil {
		return err
	}
	if unchanged(c, version) {
		return c.NoContent(http.StatusNotModified)
	}
	results, version, err := s.resultCache.Results(ctx, &st) // an answer may have come in between
	if err != nil {
		return err
	}
	view := resultView(results, st.Setup.Pair, st.Setup.Aligned)
	return s.fragment(c, version, view.Sections())
}

// resultsJSON is GET /studies/{id}/results.json: every number of the page.
func (s *Server) resultsJSON(c echo.Context) error {
	st, err := s.studies.Study(c.Request().Context(), owner(c), c.Param("id"))
	if err != nil {
		return err
	}
	results, _, err := s.resultCache.Results(c.Request().Context(), &st)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusOK, results)
}

// showReport is GET /studies/{id}/results/report: one page for paper. With ?download it comes as a file that needs
// nothing else.
func (s *Server) showReport(c echo.Context) error {
	v, err := s.ownResults(c)
	if err != nil {
		return err
	}
	return s.report(c, v)
}

// report sends results as one page, or with ?download as a file that needs nothing else.
func (s *Server) report(c echo.Context, v templates.StudyResults) error {
	r := templates.StudyReport{StudyResults: v, Alone: c.QueryParam("download") != ""}
	if r.Alone {
		c.Response().Header().Set("Content-Disposition", attachment(v.Name, "-report.html"))
	}
	return s.page(c, http.StatusOK, r)
}

// exportStudy is GET /studies/{id}/export/{file}: all answers, or rows for training. While the seeds are a secret
// none is told.
func (s *Server) exportStudy(c echo.Context) error {
	ctx := c.Request().Context()
	st, err := s.studies.Study(ctx, owner(c), c.Param("id"))
	if err != nil {
		return err
	}
	ratings, err := s.studies.Ratings(ctx, st.ID)
	if err != nil {
		return err
	}
	secret, err := s.secretSeeds(ctx, &st)
	if err != nil {
		return err
	}
	if secret {
		study.HideSeeds(ratings)
	}
	var buf bytes.Buffer
	name, kind := c.Param("file"), "application/jsonl; charset=utf-8"
	switch name {
	case "ratings.jsonl":
		err = s.exportRatings(ctx, &buf, &st, secret, ratings)
	case "ratings.csv":
		kind = "text/csv; charset=utf-8"
		err = study.WriteCSV(&buf, &st.Setup, ratings)
	case "preferences.jsonl":
		err = study.WriteLines(&buf, study.Preferences(&st.Setup, ratings))
	case "labels.jsonl":
		err = study.WriteLines(&buf, study.Labels(&st.Setup, ratings))
	default:
		return fault.New(fault.NotFound, "there is no export %.40q: there are ratings.jsonl, ratings.csv, preferences.jsonl and labels.jsonl", name)
	}
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Disposition", attachment(st.Setup.Title, "-"+name))
	return c.Blob(http.StatusOK, kind, buf.Bytes())
}

// secretSeeds reports whether nobody is told the seeds of a study's outputs: while it, or another study that they were decoded
// for, is not closed.
func (s *Server) secretSeeds(ctx context.Context, st *study.Study) (bool, error) {
	if st.Status != study.Closed || st.Experiment == "" {
		return st.Status != study.Closed, nil
	}
	e, err := s.experiments.ExperimentHead(ctx, st.Owner, st.Experiment)
	return e.Secret, err
}

// exportRatings writes a study as a file that Import reads.
func (s *Server) exportRatings(ctx context.Context, buf *bytes.Buffer, st *study.Study, secret bool, ratings []study.Rating) error {
	prompts, err := s.studies.StudyPrompts(ctx, st.ID)
	if err != nil {
		return err
	}
	outputs, err := s.studies.StudyOutputs(ctx, st.ID)
	if err != nil {
		return err
	}
	return study.Export(buf, st, secret, prompts, outputs, ratings)
}

// importStudy is POST /studies/import: an exported study as the form field "file", or as the body of a JSON request.
func (s *Server) importStudy(c echo.Context) error {
	if err := s.createLimiter.allow(owner(c), "imports"); err != nil {
		return err
	}
	in, err := upload(c, "an exported study")
	if err != nil {
		return s.refuseImport(c, err, s.studyList)
	}
	defer in.Close()
	made, ratings, err := study.Import(in, owner(c), s.now(), func(fill func(study.Importing) error) error {
		return s.studies.ImportStudy(c.Request().Context(), fill)
	})
	if err != nil {
		return s.refuseImport(c, err, s.studyList)
	}
	next := "/studies/" + made.ID + "/results"
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]string{"study": made.ID, "url": s.base.at(next)})
	}
	s.leaveToast(c, toast{Text: fmt.Sprintf("Imported %d ratings.", ratings)})
	return c.Redirect(http.StatusSeeOther, next)
}

// shareResults is POST /studies/{id}/results/share: a link to the results as they are now. Form fields, all optional:
// title, and days until it expires.
func (s *Server) shareResults(c echo.Context) error {
	if err := s.createLimiter.allow(owner(c), "share links"); err != nil {
		return err
	}
	ctx := c.Request().Context()
	expires, err := s.expiry(c)
	if err != nil {
		return err
	}
	st, err := s.studies.Study(ctx, owner(c), c.Param("id"))
	if err != nil {
		return err
	}
	form, err := s.resultCache.Publish(ctx, &st, s.now())
	if err != nil {
		return err
	}
	return s.publish(c, share.Link{
		Owner: owner(c), Kind: share.ResultsLink, Subject: st.ID, Title: cmp.Or(c.FormValue("title"), st.Setup.Title), ExpiresAt: expires,
	}, form, "/studies/"+st.ID+"/results", "")
}

// showPublished is GET /r/{token}, and /r/{token}.json: frozen results for anybody with the link. It sets no cookie.
func (s *Server) showPublished(c echo.Context) error {
	token, asJSON := strings.CutSuffix(c.Param("token"), ".json")
	found, form, err := s.shares.Find(c.Request().Context(), share.ResultsLink, token)
	if err != nil {
		return err
	}
	if asJSON {
		h := c.Response().Header()
		h.Set("Cache-Control", "private, no-cache")
		h.Set("Content-Disposition", `inline; filename="realign-results.json"`)
		return c.JSONBlob(http.StatusOK, form)
	}
	v, err := s.published(c, token, found, form)
	if err != nil {
		return err
	}
	return s.page(c, http.StatusOK, v)
}

// publishedReport is GET /r/{token}/report: frozen results as one page for paper.
func (s *Server) publishedReport(c echo.Context) error {
	found, form, err := s.shares.Find(c.Request().Context(), share.ResultsLink, c.Param("token"))
	if err != nil {
		return err
	}
	v, err := s.published(c, c.Param("token"), found, form)
	if err != nil {
		return err
	}
	return s.report(c, v)
}

// published is the page of frozen results; form is what was frozen.
func (s *Server) published(c echo.Context, token string, found share.Link, form []byte) (templates.StudyResults, error) {
	p, err := study.ReadPublication(form)
	if err != nil {
		return templates.StudyResults{}, err
	}
	v := templates.StudyResults{
		Layout: s.layout(c, "Results: "+found.Title, ""), Name: found.Title, Result: resultView(p.Results, p.Pair, p.Aligned),
		Path: linkPath(share.ResultsLink) + token, At: p.At, Frozen: true,
	}
	v.NoIndex = true // a link is for those it was given to
	return v, nil
}

// attachment names a file after a study.
func attachment(title, suffix string) string {
	return `attachment; filename="` + fileName(title, "study", suffix) + `"`
}

// countFacts say how much was answered of what.
func countFacts(c preference.Counts, pair, aligned string) []templates.Fact {
	facts := []templates.Fact{{Name: "Pair", Value: pair + ", " + aligned}}
	for _, f := range []struct {
		name string
		n    int
		even bool // say so when there is none
	}{
		{"Comparisons", c.Pairwise, false}, {"Scores", c.Likert, false}, {"Rankings", c.Rankings, false}, {"Catch trials", c.Catch, false},
		{"Annotators", c.Annotators, true}, {"Prompts rated", c.Prompts, true},
	} {
		if f.n > 0 || f.even {
			facts = append(facts, templates.Fact{Name: f.name, Value: strconv.Itoa(f.n)})
		}
	}
	return facts
}
