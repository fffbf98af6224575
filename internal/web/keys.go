package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/apikey"
	"realign/internal/fault"
	"realign/web/templates"
)

// showKeys is GET /keys: the API keys that the viewer made.
func (s *Server) showKeys(c echo.Context) error {
	return s.keyList(c, http.StatusOK, nil)
}

// createKey is POST /keys: name, days until it expires and, optionally, limits. The answer is the only page that ever shows
// the key.
func (s *Server) createKey(c echo.Context) error {
	if err := s.createLimiter.allow(owner(c), "API keys"); err != nil {
		return err
	}
	expires, err := s.expiry(c)
	if err != nil {
		return err
	}
	var limits apikey.Limits
	form, err := c.FormParams()
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the form cannot be read")
	}
	err = bindForm(form, []field{
		{"requests_per_minute", &limits.Requests, true}, {"tokens_per_minute", &limits.Tokens, true}, {"lanes", &limits.Lanes, true},
	})
	if err != nil {
		return err
	}
	k, secret, err := apikey.New(strings.TrimSpace(c.FormValue("name")), owner(c), expires, limits, s.now())
	if err != nil {
		return err
	}
	if err := s.keys.CreateKey(c.Request().Context(), k, apikey.Hash(secret)); err != nil {
		return err
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]string{"id": k.ID, "key": secret})
	}
	return s.keyList(c, http.StatusCreated, &templates.NewKey{Name: k.Name, Secret: secret, Base: s.absolute(c, "/v1")})
}

// revokeKey is POST /keys/{id}/revoke.
func (s *Server) revokeKey(c echo.Context) error {
	if err := s.keys.RevokeKeyOf(c.Request().Context(), owner(c), c.Param("id"), s.now()); err != nil {
		return err
	}
	return s.done(c, "The key is revoked: programs that send it are refused.", "", "/keys")
}

// keyList is the page of keys, with the one that was just made.
func (s *Server) keyList(c echo.Context, status int, made *templates.NewKey) error {
	keys, err := s.keys.KeysOf(c.Request().Context(), owner(c))
	if err != nil {
		return err
	}
	v := templates.KeyList{Layout: s.layout(c, "Keys", "keys"), New: made}
	now := s.now()
	for _, k := range keys {
		v.Keys = append(v.Keys, keyItem(k, now))
	}
	return s.page(c, status, v)
}

// keyItem is a key as the page lists it.
func keyItem(k apikey.Key, now time.Time) templates.Key {
	return templates.Key{
		ID: k.ID, Name: k.Name, State: k.State(now), Created: k.CreatedAt, Expires: k.ExpiresAt, Revoked: k.RevokedAt, Used: k.UsedAt,
		Requests: k.Requests, Tokens: k.Tokens, Lanes: k.Lanes,
	}
}
