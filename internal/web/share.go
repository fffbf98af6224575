package web

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/share"
	"realign/web/templates"
)

// share is POST /runs/{id}/share: a new link to a frozen copy of the run. Form fields, all optional: title, and
// days until it expires.
func (s *Server) share(c echo.Context) error {
	if err := s.createLimiter.allow(owner(c), "share links"); err != nil {
		return err
	}
	expires, err := s.expiry(c)
	if err != nil {
		return err
	}
	made, token, err := s.shares.Share(c.Request().Context(), owner(c), c.Param("id"), c.FormValue("title"), expires)
	if err != nil {
		return err
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]string{"id": made.ID, "url": s.absolute(c, "/c/"+token)})
	}
	s.leaveToast(c, toast{Text: "The link is made.", Token: token, Share: made.ID})
	return c.Redirect(http.StatusSeeOther, "/shares")
}

// expiry reads when a link is to expire: "days" from now, or the moment "expires_at" (RFC 3339, or a
// date, or what a datetime-local field sends, in UTC). Neither, or 0 days, is never.
func (s *Server) expiry(c echo.Context) (time.Time, error) {
	if text := c.FormValue("expires_at"); text != "" {
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
			if at, err := time.Parse(layout, text); err == nil {
				if at.IsZero() { // which is never, elsewhere
					return at, fault.Field("expires_at", "%s is in the past", text)
				}
				return at.UTC(), nil
			}
		}
		return time.Time{}, fault.Field("expires_at", "%.40q is not a date or time like 2006-01-02T15:04", text)
	}
	const most = 3650
	text := c.FormValue("days")
	if text == "" || text == "0" {
		return time.Time{}, nil
	}
	days, err := strconv.Atoi(text)
	if err != nil || days < 0 || days > most {
		return time.Time{}, fault.Field("days", "%.20q is not a number of days from 0 to %d", text, most)
	}
	return s.now().Add(time.Duration(days) * 24 * time.Hour), nil
}

// showShares is GET /shares: the links that the viewer made.
func (s *Server) showShares(c echo.Context) error {
	made, err := s.shares.List(c.Request().Context(), owner(c))
	if err != nil {
		return err
	}
	last, _ := s.readToast(c)
	v := templates.ShareList{Layout: s.layout(c, "Shared links", "shares")}
	for i := range made {
		item := s.shareItem(&made[i])
		if last.Token != "" && last.Share == item.ID {
			item.URL = s.absolute(c, linkPath(made[i].Kind)+last.Token)
			v.New = &item
		}
		v.Shares = append(v.Shares, item)
	}
	return s.page(c, http.StatusOK, v)
}

// shareItem is a link as the page lists it; its address is not known any more.
func (s *Server) shareItem(made *share.Listed) templates.Share {
	item := templates.Share{
		ID: made.ID, Title: made.Title, Prompt: made.Prompt, Session: made.Session,
		Created: made.CreatedAt, Expires: made.ExpiresAt, Revoked: made.RevokedAt,
		Expired: !made.ExpiresAt.IsZero() && !s.now().Before(made.ExpiresAt),
	}
	switch made.Kind {
	case share.ComparisonLink:
		item.Run = made.Subject
	case share.ResultsLink:
		item.Study = made.Subject
	case share.SweepLink:
		item.Sweep = made.Subject
	}
	return item
}

// linkPath is where links of a kind open.
func linkPath(kind share.LinkKind) string {
	switch kind {
	case share.ResultsLink:
		return "/r/"
	case share.SweepLink:
		return "/w/"
	}
	return "/c/"
}

// publish makes a link to a form that is frozen now, and tells where it leads: a program in JSON, a person on the page at back, where
// shownAt is what readToast finds it by ("" is the link's own id).
func (s *Server) publish(c echo.Context, link share.Link, form []byte, back, shownAt string) error {
	made, token, err := s.shares.Create(c.Request().Context(), link, form)
	if err != nil {
		return err
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]string{"id": made.ID, "url": s.absolute(c, linkPath(link.Kind)+token)})
	}
	s.leaveToast(c, toast{Text: "The link is made.", Token: token, Share: cmp.Or(shownAt, made.ID)})
	return c.Redirect(http.StatusSeeOther, back)
}

// revokeShare is POST /shares/{id}/revoke.
func (s *Server) revokeShare(c echo.Context) error {
	if err := s.shares.Revoke(c.Request().Context(), owner(c), c.Param("id")); err != nil {
		return err
	}
	return s.done(c, "The link is revoked: it opens nothing any more.", "", "/shares")
}

// expireShare is POST /shares/{id}/expire.
func (s *Server) expireShare(c echo.Context) error {
	at, err := s.expiry(c)
	if err != nil {
		return err
	}
	if err := s.shares.Expire(c.Request().Context(), owner(c), c.Param("id"), at); err != nil {
		return err
	}
	text := "The link no longer expires."
	if !at.IsZero() {
		text = "The link expires on " + at.UTC().Format("2 January 2006 15:04 UTC") + "."
	}
	return s.done(c, text, "", "/shares")
}

// done answers a form that has done what it is for: programs get JSON, people the next page with a note.
func (s *Server) done(c echo.Context, text, undo, next string) error {
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusOK, map[string]string{"message": text, "undo": s.base.at(undo)})
	}
	s.leaveToast(c, toast{Text: text, Undo: undo})
	return c.Redirect(http.StatusSeeOther, next)
}

// absolute is the address of a path for people outside.
func (s *Server) absolute(c echo.Context, path string) string {
	if s.public != nil {
		return s.public.Scheme + "://" + s.public.Host + s.base.at(path)
	}
	scheme := "http://"
	if s.secure(c.Request()) {
		scheme = "https://"
	}
	return scheme + c.Request().Host + s.base.at(path)
}
