package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/web/templates"
)

// fragment sends a part of a page, which the page's script puts in place of an older one. Its version is its ETag, "" stands
// for one made of what it says: whoever has that version gets 304 and nothing more.
func (s *Server) fragment(c echo.Context, version string, part templ.Component) error {
	var buf bytes.Buffer
	if err := part.Render(templates.WithWords(c.Request().Context()), &buf); err != nil {
		return fault.Wrap(err, fault.Internal, "this part of the page could not be made")
	}
	if version == "" {
		sum := sha256.Sum256(buf.Bytes())
		version = base64.RawURLEncoding.EncodeToString(sum[:12])
	}
	if unchanged(c, version) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.HTMLBlob(http.StatusOK, s.base.page(buf.Bytes()))
}

// unchanged reports whether a client has a version of a fragment already, and says which one it gets.
func unchanged(c echo.Context, version string) bool {
	tag := `"` + version + `"`
	h := c.Response().Header()
	h.Set("Cache-Control", "private, no-cache") // kept, and asked about each time
	h.Set("Vary", "X-Requested-With")           // at some addresses others get the whole page
	h.Set("ETag", tag)
	return c.Request().Header.Get("If-None-Match") == tag
}
