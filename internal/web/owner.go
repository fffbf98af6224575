package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
)

// The owner's cookie, and what a form carries.
const (
	ownerCookie = "realign_owner"
	ownerBytes  = 32 // 256 random bits
	ownerAge    = 400 * 24 * time.Hour
	csrfField   = "_csrf"
	csrfHeader  = "X-CSRF-Token"
)

// There are no accounts: who holds the cookie owns what was made with it. The cookie's value is never
// stored or logged; the owner's id is its hash.

// identify puts the owner of a request, if its cookie names one, into the context.
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if secret := ownerSecret(s.kept(c.Request(), ownerCookie)); secret != "" {
			c.Set(ownerCookie, secret)
		}
		return next(c)
	}
}

// ensureOwner gives a visitor without an owner cookie a new one. It is used on pages that show or make
// things of one's own, and not on public ones.
func (s *Server) ensureOwner(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		secret, _ := c.Get(ownerCookie).(string)
		if secret == "" {
			b := make([]byte, ownerBytes)
			rand.Read(b) // never fails
			secret = base64.RawURLEncoding.EncodeToString(b)
			c.Set(ownerCookie, secret)
		}
		// Set anew on every page, so that the cookie of somebody who comes back does not run out.
		c.SetCookie(s.cookie(c, ownerCookie, secret, ownerAge))
		return next(c)
	}
}

// ownerSecret is the value of an owner's cookie, or "" if it is none.
func ownerSecret(value string) string {
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(b) != ownerBytes {
		return ""
	}
	return value
}

// owner is the id under which a visitor's things are kept; "" for a visitor without the cookie.
func owner(c echo.Context) string {
	secret, _ := c.Get(ownerCookie).(string)
	return ownerID(secret)
}

// ownerID is the id of who holds a secret; "" for none.
func ownerID(secret string) string {
	if secret == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("owner\x00" + secret))
	return hex.EncodeToString(sum[:16])
}

// csrfToken is what a form must carry. It is derived from the owner's cookie, which other sites cannot
// read, so nothing needs to be kept for it.
func csrfToken(c echo.Context) string {
	secret, _ := c.Get(ownerCookie).(string)
	if secret == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("csrf\x00" + secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// checkForm refuses a request that changes something of an owner's unless it comes from one of our own pages.
func checkForm(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		want := csrfToken(c)
		got := c.Request().Header.Get(csrfHeader)
		if got == "" {
			got = c.FormValue(csrfField)
		}
		if r := c.Request(); r.Form != nil { // else the handler reads it piece by piece
			if err := checkTexts(r.Form); err != nil {
				return err
			}
		}
		if want == "" || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
			return fault.New(fault.Forbidden, "the form has expired: load the page again and repeat what you did")
		}
		return next(c)
	}
}
