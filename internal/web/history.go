package web

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/session"
	"realign/web/templates"
)

// sessionsBeside is how many sessions the list beside the playground has; the page of sessions has all.
const sessionsBeside = 30

// history is the list beside the playground: the runs of a session ("" is none), and sessions, of both those that match a query.
func (s *Server) history(ctx context.Context, owner, id string, runs []run.Run, query string) (templates.History, error) {
	v := templates.History{Session: id, Query: query}
	page, err := s.sessions.Sessions(ctx, owner, session.Query{Search: query, Limit: sessionsBeside})
	if err != nil {
		return v, err
	}
	if v.Sessions, err = s.sessionItems(ctx, owner, page.Sessions); err != nil {
		return v, err
	}
	v.More = page.Next != ""
	if len(runs) == 0 {
		return v, nil
	}
	marks, err := s.sessions.Marks(ctx, owner, id)
	if err != nil {
		return v, err
	}
	folded := strings.ToLower(query)
	for i := range runs {
		item := runItem(&runs[len(runs)-1-i]) // the newest first
		m := marks[item.ID]
		item.Number, item.Title, item.Pinned = m.Place, m.Title, m.Pinned
		if strings.Contains(strings.ToLower(item.Prompt+"\n"+item.Title), folded) {
			v.Runs = append(v.Runs, item)
		}
	}
	slices.SortStableFunc(v.Runs, func(a, b templates.RunItem) int { return pinnedFirst(a.Pinned, b.Pinned) })
	return v, nil
}

// pinnedFirst orders what is pinned before what is not.
func pinnedFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// sessionItems are sessions as lists show them, with the pair and λ of their newest runs.
func (s *Server) sessionItems(ctx context.Context, owner string, list []session.Session) ([]templates.SessionItem, error) {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	latest, err := s.sessions.LatestRuns(ctx, owner, ids)
	if err != nil {
		return nil, err
	}
	items := make([]templates.SessionItem, len(list))
	for i := range list {
		items[i] = sessionItem(list[i])
		if r, ok := latest[list[i].ID]; ok {
			items[i].Pair, items[i].Lambdas = r.Spec.Pair, lambdasWords(&r.Spec)
		}
	}
	return items, nil
}

// lambdasWords is what λ a run is of.
func lambdasWords(spec *run.Spec) string {
	if m := spec.Map; m != nil {
		return lambdaText(m.At(m.From)) + " to " + lambdaText(m.At(m.To))
	}
	words := make([]string, len(spec.Lanes))
	for i, l := range spec.Lanes {
		words[i] = lambdaText(l.Lambda)
	}
	return strings.Join(words, " · ")
}

// showHistory is GET /history: the list beside the playground as it is now, with "session", "run" (the one that is shown) and
// "q", a search.
func (s *Server) showHistory(c echo.Context) error {
	ctx, id := c.Request().Context(), c.QueryParam("session")
	var runs []run.Run
	if id != "" {
		if _, err := s.sessions.Session(ctx, owner(c), id); err != nil {
			return err
		}
		var err error
		if runs, err = s.sessions.Runs(ctx, owner(c), id); err != nil {
			return err
		}
	}
	v, err := s.history(ctx, owner(c), id, runs, strings.TrimSpace(c.QueryParam("q")))
	if err != nil {
		return err
	}
	v.CSRF, v.Run, v.Path = csrfToken(c), c.QueryParam("run"), localPath(c.QueryParam("next"))
	return s.fragment(c, "", v.Lists())
}

// nameRun is POST /runs/{id}/rename: "title"; none is the beginning of its prompt again.
func (s *Server) nameRun(c echo.Context) error {
	if err := s.sessions.NameRun(c.Request().Context(), owner(c), c.Param("id"), c.FormValue("title")); err != nil {
		return err
	}
	return s.done(c, "The run is renamed.", "", localPath(c.FormValue("next")))
}

// pinRun is POST /runs/{id}/pin, and pinSession POST /sessions/{id}/pin: "pinned" is 1 or 0.
func (s *Server) pinRun(c echo.Context) error     { return s.pin(c, "run", s.sessions.PinRun) }
func (s *Server) pinSession(c echo.Context) error { return s.pin(c, "session", s.sessions.PinSession) }

// pin pins a run or a session, or takes the pin away, as the form says.
func (s *Server) pin(c echo.Context, what string, pin func(ctx context.Context, owner, id string, at time.Time) error) error {
	var at time.Time
	words := "The %s is no longer pinned."
	switch text := c.FormValue("pinned"); text {
	case "1":
		at, words = s.now(), "The %s is pinned."
	case "0":
	default:
		return fault.Field("pinned", "%.20q is neither 1 nor 0", text)
	}
	if err := pin(c.Request().Context(), owner(c), c.Param("id"), at); err != nil {
		return err
	}
	return s.done(c, fmt.Sprintf(words, what), "", localPath(c.FormValue("next")))
}

// deleteChosen is POST /history/delete: any number of "session" and "run". It can be undone, but for runs that it stops.
func (s *Server) deleteChosen(c echo.Context) error {
	form, err := c.FormParams()
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the form cannot be read")
	}
	return s.forget(c, session.Choice{Sessions: form["session"], Runs: form["run"]})
}

// deleteRun is POST /runs/{id}/delete.
func (s *Server) deleteRun(c echo.Context) error {
	return s.forget(c, session.Choice{Runs: []string{c.Param("id")}})
}

// forget stops and deletes what was chosen, and leads to a page that is still there.
func (s *Server) forget(c echo.Context, chosen session.Choice) error {
	ctx, who := c.Request().Context(), owner(c)
	at := s.now()
	for _, id := range chosen.Runs {
		_ = s.hub.Stop(ctx, who, id, -1) // what does not run need not be stopped
	}
	if err := s.sessions.DeleteChosen(ctx, who, chosen, at); err != nil {
		return err
	}
	for _, id := range chosen.Sessions {
		s.hub.StopSession(who, id)
	}
	next := localPath(c.FormValue("next"))
	if where := c.FormValue("where"); slices.Contains(chosen.Sessions, where) {
		next = "/"
	}
	if shown := c.FormValue("shown"); slices.Contains(chosen.Runs, shown) {
		next, _, _ = strings.Cut(next, "?") // the session's newest run
	}
	undo := "/history/restore?at=" + strconv.FormatInt(at.UnixMicro(), 10) + "&next=" + url.QueryEscape(localPath(c.FormValue("next")))
	return s.done(c, "Deleted: "+chosenWords(chosen)+".", undo, next)
}

// chosenWords says how many sessions and runs were chosen.
func chosenWords(chosen session.Choice) string {
	var words []string
	switch n := len(chosen.Sessions); n {
	case 0:
	case 1:
		words = append(words, "1 session")
	default:
		words = append(words, strconv.Itoa(n)+" sessions")
	}
	if n := len(chosen.Runs); n > 0 {
		words = append(words, runs(n))
	}
	return strings.Join(words, " and ")
}

// restoreChosen is POST /history/restore?at=…: what was deleted together at that time is back.
func (s *Server) restoreChosen(c echo.Context) error {
	at, err := strconv.ParseInt(c.QueryParam("at"), 10, 64)
	if err != nil {
		return fault.Field("at", "%.40q is not the time of a deletion", c.QueryParam("at"))
	}
	if err := s.sessions.RestoreChosen(c.Request().Context(), owner(c), time.UnixMicro(at)); err != nil {
		return err
	}
	return s.done(c, "What was deleted is back.", "", localPath(c.QueryParam("next")))
}
