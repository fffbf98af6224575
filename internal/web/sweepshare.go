package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/share"
	"realign/internal/sweep"
	"realign/web/templates"
)

// Names and version that a published sweep begins with.
const (
	sweepPublication        = "realign-sweep"
	sweepPublicationVersion = 1
)

// publishedSweep is a sweep and its ticket as a link shows them to anybody: numbers, no prompt and no text.
type publishedSweep struct {
	Format  string        `json:"format"`
	Version int           `json:"version"`
	Title   string        `json:"title"`
	Pair    string        `json:"pair"`
	Aligned string        `json:"aligned"`
	Prompts int           `json:"prompts"` // how many
	State   string        `json:"state"`   // of the sweep when it was published
	At      time.Time     `json:"at"`      // when that was
	Report  *sweep.Report `json:"report"`
}

// shareSweep is POST /sweeps/{id}/share: a link to the sweep and its ticket as they are now. Form fields, all optional: title, and
// days until it expires.
func (s *Server) shareSweep(c echo.Context) error {
	if err := s.createLimiter.allow(owner(c), "share links"); err != nil {
		return err
	}
	expires, err := s.expiry(c)
	if err != nil {
		return err
	}
	w, report, err := s.ticket(c)
	if err != nil {
		return err
	}
	if report.Outputs == 0 {
		return fault.New(fault.Conflict, "nothing is decoded yet: share the sweep once it has outputs")
	}
	item := sweepItem(w)
	form, err := json.Marshal(publishedSweep{
		sweepPublication, sweepPublicationVersion, item.Title, item.Pair, item.Aligned, item.Prompts, item.State, s.now().UTC().Truncate(time.Second), report,
	})
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the sweep %s cannot be written", w.ID)
	}
	return s.publish(c, share.Link{
		Owner: owner(c), Kind: share.SweepLink, Subject: w.ID, Title: cmp.Or(c.FormValue("title"), item.Title), ExpiresAt: expires,
	}, form, "/sweeps/"+w.ID+"/ticket", w.ID)
}

// newSweepLink is the address of a link that was made just now, which is shown this once; "" without.
func (s *Server) newSweepLink(c echo.Context, id string) string {
	if t, ok := s.readToast(c); ok && t.Share == id && t.Token != "" {
		return s.absolute(c, linkPath(share.SweepLink)+t.Token)
	}
	return ""
}

// showSharedSweep is GET /w/{token}: a sweep and its ticket, for anybody with the link. It sets no cookie.
func (s *Server) showSharedSweep(c echo.Context) error {
	found, form, err := s.shares.Find(c.Request().Context(), share.SweepLink, c.Param("token"))
	if err != nil {
		return err
	}
	var p publishedSweep
	if err := json.Unmarshal(form, &p); err != nil || p.Format != sweepPublication || p.Version != sweepPublicationVersion || p.Report == nil {
		return fault.Wrap(err, fault.Internal, "the published sweep cannot be read")
	}
	v := templates.SharedSweep{
		Layout: s.layout(c, "Sweep: "+found.Title, ""), Name: found.Title, At: p.At,
		Sweep:  templates.SweepItem{Title: found.Title, Pair: p.Pair, Aligned: p.Aligned, State: p.State, Prompts: p.Prompts, Outputs: p.Report.Outputs},
		Answer: answer(p.Report), Facts: answerFacts(p.Report), Warnings: warnings(p.Report), Sections: ticketSections(p.Report), Charts: charts(p.Report),
	}
	v.NoIndex = true // a link is for those it was given to
	return s.page(c, http.StatusOK, v)
}
