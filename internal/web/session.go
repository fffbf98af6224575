package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/title"
	"realign/web/templates"
)

// Sessions is where sessions and their runs are kept. What does not exist, is deleted, or is somebody
// else's is NotFound.
type Sessions interface {
	session.Archive
	// Run is one of an owner's runs.
	Run(ctx context.Context, owner, id string) (run.Run, error)
	Index
}

// Index lists and changes sessions.
type Index interface {
	// Sessions is a page of those that match a query, the last changed first.
	Sessions(ctx context.Context, owner string, q session.Query) (session.Page, error)
	// RenameSession gives a session another title.
	RenameSession(ctx context.Context, owner, id, title string) error

	// DeleteSession hides a session until RestoreSession.
	DeleteSession(ctx context.Context, owner, id string, at time.Time) error
	// RestoreSession undoes DeleteSession. It is NotFound for a session that is not deleted, or gone for good.
	RestoreSession(ctx context.Context, owner, id string) error

	// What the owner says of runs and sessions in the history; the zero time takes a pin away.
	Marks(ctx context.Context, owner, id string) (map[string]session.Mark, error)
	// LatestRuns is the newest run of each of some sessions, by the session's id.
	LatestRuns(ctx context.Context, owner string, sessions []string) (map[string]run.Run, error)
	// NameRun gives a run a title; "" takes it away.
	NameRun(ctx context.Context, owner, id, name string) error
	// PinRun keeps a run at the top of its session's list, PinSession a session at the top of the list of sessions.
	PinRun(ctx context.Context, owner, id string, at time.Time) error
	PinSession(ctx context.Context, owner, id string, at time.Time) error

	// DeleteChosen hides sessions and runs until RestoreChosen with the same time.
	DeleteChosen(ctx context.Context, owner string, chosen session.Choice, at time.Time) error
	// RestoreChosen undoes the DeleteChosen of that time. It is NotFound if nothing was deleted then.
	RestoreChosen(ctx context.Context, owner string, at time.Time) error
}

// sessionsOnPage is how many sessions a page of them has.
const sessionsOnPage = 50

// showSessions is GET /sessions: "q", a search, and "after", where the page before ended.
func (s *Server) showSessions(c echo.Context) error { return s.sessionList(c, http.StatusOK, "") }

// sessionList is the page of sessions, with why a file could not be imported.
func (s *Server) sessionList(c echo.Context, status int, trouble string) error {
	query := strings.TrimSpace(c.QueryParam("q"))
	found, err := s.sessions.Sessions(c.Request().Context(), owner(c),
		session.Query{Search: query, Cursor: c.QueryParam("after"), Limit: sessionsOnPage})
	if err != nil {
		return err
	}
	v := templates.SessionList{Layout: s.layout(c, "Sessions", "sessions"), Query: query, Next: found.Next, ImportError: trouble}
	if v.Sessions, err = s.sessionItems(c.Request().Context(), owner(c), found.Sessions); err != nil {
		return err
	}
	return s.page(c, status, v)
}

// sessionItem is a session as lists show it.
func sessionItem(one session.Session) templates.SessionItem {
	return templates.SessionItem{ID: one.ID, Title: one.Title, Pinned: !one.PinnedAt.IsZero(), Runs: one.Runs, Created: one.CreatedAt, Updated: one.UpdatedAt}
}

// renameSession is POST /sessions/{id}/rename: "title", and "next", the path to go on to.
func (s *Server) renameSession(c echo.Context) error {
	title, err := title.Clean(c.FormValue("title"))
	if err != nil {
		return err
	}
	if err := s.sessions.RenameSession(c.Request().Context(), owner(c), c.Param("id"), title); err != nil {
		return err
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusOK, map[string]string{"title": title})
	}
	next := "/sessions"
	if from := c.FormValue("next"); from != "" {
		next = localPath(from)
	}
	return s.done(c, "The session is renamed.", "", next)
}

// deleteSession is POST /sessions/{id}/delete. It can be undone, but for runs that it stops.
func (s *Server) deleteSession(c echo.Context) error {
	id := c.Param("id")
	if err := s.sessions.DeleteSession(c.Request().Context(), owner(c), id, s.now()); err != nil {
		return err
	}
	s.hub.StopSession(owner(c), id)
	next := "/sessions"
	if from := c.FormValue("next"); from != "" {
		if next = localPath(from); c.FormValue("where") == id {
			next = "/"
		}
	}
	return s.done(c, "The session is deleted.", "/sessions/"+id+"/restore", next)
}

// restoreSession is POST /sessions/{id}/restore: what was deleted is back.
func (s *Server) restoreSession(c echo.Context) error {
	if err := s.sessions.RestoreSession(c.Request().Context(), owner(c), c.Param("id")); err != nil {
		return err
	}
	return s.done(c, "The session is back.", "", "/sessions")
}

// exportSession is GET /sessions/{id}/export: the session as a file; with "from" and "to" the runs from one place to
// another. It is written to disk first, so that what is wrong is told before anything is sent.
func (s *Server) exportSession(c echo.Context) error {
	part, err := asPart(c)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "realign-export-*")
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the file cannot be written")
	}
	defer os.Remove(f.Name()) //nolint:errcheck // the system's folder for such files
	defer f.Close()
	out := bufio.NewWriterSize(f, 256<<10)
	title, err := session.ExportSession(c.Request().Context(), s.sessions, s.shares.Signer, owner(c), c.Param("id"), part, out)
	if err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the file cannot be written")
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the file cannot be read")
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": fileName(title, "session", ".json")}))
	return c.Stream(http.StatusOK, echo.MIMEApplicationJSON, f)
}

// asPart reads "from" and "to", places of runs from 1; neither is all.
func asPart(c echo.Context) (part session.Part, err error) {
	for name, to := range map[string]*int{"from": &part.From, "to": &part.To} {
		text := c.QueryParam(name)
		if text == "" {
			continue
		}
		if *to, err = strconv.Atoi(text); err != nil || *to < 1 {
			return part, fault.Field(name, "%.20q is not the place of a run, counted from 1", text)
		}
	}
	return part, nil
}

// fileName is a title as the name of a file on any system; instead is the name of what has no title.
func fileName(title, instead, suffix string) string {
	const most = 60
	name := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r) && r < unicode.MaxASCII, unicode.IsDigit(r) && r < unicode.MaxASCII:
			return r
		}
		return '-'
	}, title)
	name = strings.Trim(strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == '-' }), "-"), "-")
	if len(name) > most {
		name = name[:most]
	}
	if name == "" {
		name = instead
	}
	return "realign-" + name + suffix
}

// importSession is POST /sessions/import: an exported file as the form field "file", or as the body of
// a JSON request.
func (s *Server) importSession(c echo.Context) error {
	if err := s.createLimiter.allow(owner(c), "imports"); err != nil {
		return err
	}
	in, err := upload(c, "an exported session")
	if err != nil {
		return s.refuseImport(c, err, s.sessionList)
	}
	defer in.Close()
	made, err := session.ImportSession(c.Request().Context(), s.sessions, s.shares.Signer, owner(c), in, s.now())
	if err != nil {
		return s.refuseImport(c, err, s.sessionList)
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]any{"session": made.Session.ID, "url": s.base.at("/s/" + made.Session.ID), "found": made.Found})
	}
	s.leaveToast(c, toast{Text: importWords(&made)})
	return c.Redirect(http.StatusSeeOther, "/s/"+made.Session.ID)
}

// refuseImport tells a person beside the field for the file what is wrong with it.
func (s *Server) refuseImport(c echo.Context, err error, list func(c echo.Context, status int, trouble string) error) error {
	f, status := outside(err)
	if f.Kind != fault.Invalid || wantsJSON(c.Request()) {
		return err
	}
	words := f.Message
	if f.Field != "" {
		words = f.Field + ": " + words
	}
	return list(c, status, templates.Capital(words)+".")
}

// importWords say what an import has found.
func importWords(made *session.Import) string {
	words := []string{"Imported " + runs(made.Session.Runs) + "."}
	for _, one := range []struct {
		found run.Origin
		words string
	}{
		{run.DecodedHere, "signed by this server"},
		{run.Signed, "signed by another server, and unchanged since"},
		{run.Unsigned, "without a signature: nobody vouches for what they show"},
		{run.Altered, "changed after they were signed"},
	} {
		if n := made.Found[one.found]; n > 0 {
			words = append(words, fmt.Sprintf("%s: %s.", templates.Capital(runs(n)), one.words))
		}
	}
	return strings.Join(words, " ")
}

// runs is a number of runs, in words.
func runs(n int) string {
	if n == 1 {
		return "1 run"
	}
	return strconv.Itoa(n) + " runs"
}

// upload is the file of a request: its JSON body, or the form field "file". what is asked for where there is none.
// The caller closes it.
func upload(c echo.Context, what string) (io.ReadSeekCloser, error) {
	if b, ok := c.Request().Body.(*received); ok && strings.HasPrefix(c.Request().Header.Get("Content-Type"), echo.MIMEApplicationJSON) {
		return b, nil
	}
	part, err := c.FormFile("file")
	if err != nil {
		return nil, fault.Field("file", "is missing: choose %s", what)
	}
	in, err := part.Open()
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the file cannot be read")
	}
	return in, nil
}
