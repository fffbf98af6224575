package web

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/study"
	"realign/web/templates"
)

// raterCookie holds an annotator's secret, one cookie for each study. Without TLS it is sent to /rate/ only.
const raterCookie = "realign_rater_"

// What annotators get is held back to what they need: their pages carry texts, the random id of the question, and
// how many there were. λ, seeds, names of models, ids of outputs and times never leave the server.

// showRate is GET /rate/{token}: the question that an annotator has before them, or the way to join.
func (s *Server) showRate(c echo.Context) error {
	st, err := s.studyService.Enter(c.Request().Context(), c.Param("token"))
	if err != nil {
		return err
	}
	who, known, err := s.rater(c, &st)
	if err != nil {
		return err
	}
	if !known {
		return s.rateJoin(c, http.StatusOK, &st, "", "")
	}
	return s.nextQuestion(c, &st, who.ID)
}

// rater is the annotator that a request's cookie names.
func (s *Server) rater(c echo.Context, st *study.Study) (study.Annotator, bool, error) {
	secret := s.kept(c.Request(), raterCookie+st.ID)
	if secret == "" {
		return study.Annotator{}, false, nil
	}
	who, err := s.studyService.Known(c.Request().Context(), st, secret)
	if fault.KindOf(err) == fault.NotFound {
		return study.Annotator{}, false, nil
	}
	return who, err == nil, err
}

// rateJoin is the page on which an annotator says their name. trouble is what was wrong with it; where the study takes no
// answers, that is said instead.
func (s *Server) rateJoin(c echo.Context, status int, st *study.Study, name, trouble string) error {
	if st.Status == study.Closed || st.Status == study.Paused {
		return s.rateNotice(c, st, st.Status.Rateable(), false)
	}
	text, err := guidelines(st.Setup.Guidelines)
	if err != nil {
		return err
	}
	return s.page(c, status, templates.RateJoin{RateShell: s.rateShell(c, st), Path: ratePath(c), Guidelines: text, Name: name, Error: trouble})
}

// joinStudy is POST /rate/{token}/join: "name".
func (s *Server) joinStudy(c echo.Context) error {
	ctx := c.Request().Context()
	if err := s.joinLimiter.allow(network(c), "people joined from this address"); err != nil {
		return err
	}
	st, err := s.studyService.Enter(ctx, c.Param("token"))
	if err != nil {
		return err
	}
	if _, known, err := s.rater(c, &st); known || err != nil { // the form was sent twice
		if err != nil {
			return err
		}
		return c.Redirect(http.StatusSeeOther, ratePath(c))
	}
	_, secret, err := s.studyService.Join(ctx, &st, c.FormValue("name"))
	if f := fault.Of(err); err != nil {
		if wantsJSON(c.Request()) || f.Kind != fault.Invalid && f.Kind != fault.Conflict {
			return err
		}
		_, status := outside(err)
		return s.rateJoin(c, status, &st, c.FormValue("name"), f.Message)
	}
	k := s.cookie(c, raterCookie+st.ID, secret, ownerAge)
	if !k.Secure { // hostPrefix allows no other path than /
		k.Path = "/rate/"
	}
	c.SetCookie(k)
	return c.Redirect(http.StatusSeeOther, ratePath(c))
}

// ratePath is the address of the annotator's page.
func ratePath(c echo.Context) string { return "/rate/" + c.Param("token") }

// answerQuestion is POST /rate/{token}/answer: "question", the id it was asked under, and the answer. Sent again it
// changes nothing. The answer is on the disk when this replies.
func (s *Server) answerQuestion(c echo.Context) error {
	return s.settle(c, func(st *study.Study, who string) error {
		answer, err := readAnswer(c, st)
		if err != nil {
			return err
		}
		return s.studyService.Answer(c.Request().Context(), st, who, c.FormValue("question"), answer)
	})
}

// skipQuestion is POST /rate/{token}/skip: "question", and "reason", or the reason in "words".
func (s *Server) skipQuestion(c echo.Context) error {
	return s.settle(c, func(st *study.Study, who string) error {
		reason := strings.TrimSpace(c.FormValue("words"))
		if reason == "" {
			reason = strings.TrimSpace(c.FormValue("reason"))
		}
		if reason == "" {
			return fault.Field("reason", "say why you skip the question")
		}
		return s.studyService.Answer(c.Request().Context(), st, who, c.FormValue("question"), study.Answer{Skip: reason})
	})
}

// undoAnswer is POST /rate/{token}/undo: the last answer before "question" is taken back.
func (s *Server) undoAnswer(c echo.Context) error {
	return s.settle(c, func(st *study.Study, who string) error {
		return s.studyService.Undo(c.Request().Context(), st, who, c.FormValue("question"))
	})
}

// settle does what a form of an annotator says and goes on to the next question: programs get it at once, people
// by a redirect. What can no longer be (Conflict) is told to people beside the question that is there now.
func (s *Server) settle(c echo.Context, do func(st *study.Study, who string) error) error {
	st, err := s.studyService.Enter(c.Request().Context(), c.Param("token"))
	if err != nil {
		return err
	}
	who, known, err := s.rater(c, &st)
	if err != nil {
		return err
	}
	if !known {
		return fault.New(fault.Forbidden, "join the study first: open the invitation and say your name")
	}
	err = do(&st, who.ID)
	if wantsJSON(c.Request()) {
		if err != nil {
			return err
		}
		return s.nextQuestion(c, &st, who.ID)
	}
	if f := fault.Of(err); err != nil {
		if f.Kind != fault.Conflict && f.Kind != fault.Invalid {
			return err
		}
		s.leaveToast(c, toast{Text: f.Message})
	}
	return c.Redirect(http.StatusSeeOther, ratePath(c))
}

// readAnswer is the answer that a form says; whether it fits the question is for the study service to check.
func readAnswer(c echo.Context, st *study.Study) (study.Answer, error) {
	form, err := c.FormParams()
	if err != nil {
		return study.Answer{}, fault.Wrap(err, fault.Invalid, "the form cannot be read")
	}
	a := study.Answer{
		Choice:  preference.Choice(form.Get("choice")),
		Comment: strings.TrimSpace(strings.ReplaceAll(form.Get("comment"), "\r\n", "\n")),
	}
	if st.Setup.Likert != nil {
		for field := range form {
			name := criterion(st.Setup.Likert, field)
			if name == "" {
				continue
			}
			score, err := strconv.Atoi(form.Get(field))
			if err != nil {
				return a, fault.Field("scores", "%.20q is not a whole number", form.Get(field))
			}
			if a.Scores == nil {
				a.Scores = map[string]int{}
			}
			a.Scores[name] = score
		}
	}
	if form.Get("best") != "" || form.Get("worst") != "" {
		best, errBest := strconv.Atoi(form.Get("best"))
		worst, errWorst := strconv.Atoi(form.Get("worst"))
		n, err := strconv.Atoi(form.Get("answers")) // as many as the page shows; the study service compares
		if err != nil || n < 2 || n > preference.MaxRanked || errBest != nil || errWorst != nil || best == worst || min(best, worst) < 0 || max(best, worst) >= n {
			return a, fault.Field("rank", "choose the best and the worst of the answers, not the same one")
		}
		a.Rank = study.BestWorst(n, best, worst)
	}
	return a, nil
}

// nextQuestion sends the question that an annotator has before them, or says why there is none.
func (s *Server) nextQuestion(c echo.Context, st *study.Study, who string) error {
	q, err := s.studyService.Question(c.Request().Context(), st, who)
	if fault.KindOf(err) == fault.Conflict {
		return s.rateNotice(c, st, err, false)
	}
	if err != nil {
		return err
	}
	if q.Finished() {
		return s.rateNotice(c, st, nil, q.Undo)
	}
	v, err := s.rateView(c, st, ratePath(c), &q)
	if err != nil {
		return err
	}
	return s.ratePage(c, v)
}

// rateNotice says why an annotator has no question: err, or that they are done.
func (s *Server) rateNotice(c echo.Context, st *study.Study, err error, undo bool) error {
	v := templates.RateNotice{
		RateShell: s.rateShell(c, st), Path: ratePath(c), Undo: undo,
		Heading: "Thank you: that was all", Words: "You have answered every question there is for you. If there are more later, you find them here.",
	}
	if err != nil {
		v.Heading, v.Words = "Not now", templates.Capital(fault.Of(err).Message)+"."
	}
	return s.ratePage(c, v)
}

// ratePage sends a whole page, or to the controller what changes of it.
func (s *Server) ratePage(c echo.Context, v interface {
	view
	Body() templ.Component
}) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	if !wantsJSON(c.Request()) {
		return s.page(c, http.StatusOK, v)
	}
	var buf bytes.Buffer
	if err := v.Body().Render(c.Request().Context(), &buf); err != nil {
		return fault.Wrap(err, fault.Internal, "the page could not be made")
	}
	return c.HTMLBlob(http.StatusOK, s.base.page(buf.Bytes()))
}

// rateShell is what all pages of annotators have around them.
func (s *Server) rateShell(c echo.Context, st *study.Study) templates.RateShell {
	l := s.layout(c, "", "")
	return templates.RateShell{Study: st.Setup.Title, Theme: l.Theme, Toast: l.Toast}
}

// rateView is a question as an annotator may see it.
func (s *Server) rateView(c echo.Context, st *study.Study, path string, q *study.Question) (templates.Rate, error) {
	v := templates.Rate{
		RateShell: s.rateShell(c, st), Path: path,
		Question: templates.Question{
			ID: q.Assignment.ID, Kind: string(q.Kind), System: q.Prompt.System, Prompt: q.Prompt.Text, History: messageViews(q.Prompt.History), Comments: st.Setup.Comments,
			Number: q.Number, Most: q.Most, Undo: q.Undo,
		},
	}
	if !wantsJSON(c.Request()) { // the controller has them already
		var err error
		if v.Guidelines, err = guidelines(st.Setup.Guidelines); err != nil {
			return v, err
		}
	}
	if v.Question.System == "" {
		v.Question.System = st.Setup.System
	}
	if q.Kind == study.AskLikert {
		v.Question.Criteria, v.Question.Points = st.Setup.Likert.Criteria, st.Setup.Likert.Points
	}
	for _, o := range q.Outputs {
		thought, said := decode.CutThought(o.Text)
		v.Question.Answers, v.Question.Thoughts = append(v.Question.Answers, said), append(v.Question.Thoughts, thought)
		v.Question.Cut = append(v.Question.Cut, o.Reason == decode.EndLength)
	}
	return v, nil
}
