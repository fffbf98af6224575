package web

import (
	"net/http"
	"strconv"
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
	for field, n := range map[string]*int{"requests_per_minute": &limits.Requests, "tokens_per_minute": &limits.Tokens, "lanes": &limits.Lanes} {
		text := strings.TrimSpace(c.FormValue(field))
		if text == "" {
			continue
		}
		if *n, err = strconv.Atoi(text); err != nil {
			return fault.Field(field, "%.20q is not a whole number: leave it empty for no limit", text)
		}
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

func keyItem(k apikey.Key, now time.Time) templates.Key {
	return templates.Key{
		ID: k.ID, Name: k.Name, State: k.State(now), Created: k.CreatedAt, Expires: k.ExpiresAt, Revoked: k.RevokedAt, Used: k.UsedAt,
		Requests: k.Requests, Tokens: k.Tokens, Lanes: k.Lanes,
	}
}
