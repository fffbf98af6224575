package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/web/templates"
)

// AuthMode says who may use the server.
type AuthMode string

const (
	AuthNone     AuthMode = "none"     // whoever reaches it: loopback only
	AuthPassword AuthMode = "password" // who knows the password
)

const (
	loginCookie = "realign_login"
	loginAge    = 30 * 24 * time.Hour
	leastLength = 8 // characters of a password
)

// auth decides who has logged in. Nothing is stored: the cookie is an expiry time signed with a key that
// the password is part of, so a new password ends every login.
type auth struct {
	mode     AuthMode
	password [sha256.Size]byte
	key      []byte
	now      func() time.Time
	tries    *limiter
}

func newAuth(mode AuthMode, password string, secret []byte, now func() time.Time) (*auth, error) {
	a := &auth{mode: mode, now: now, tries: newLimiter(12*time.Second, 5, 10_000, now)}
	switch mode {
	case AuthNone:
		return a, nil
	case AuthPassword:
		if len([]rune(password)) < leastLength {
			return nil, fault.Field("password", "REALIGN_PASSWORD needs at least %d characters", leastLength)
		}
	default:
		return nil, fault.Field("auth", "%q is neither none nor password", mode)
	}
	if len(secret) == 0 {
		secret = make([]byte, 32)
		rand.Read(secret) // never fails
	}
	a.password = sha256.Sum256([]byte(password))
	mac := hmac.New(sha256.New, secret)
	mac.Write(a.password[:])
	a.key = mac.Sum(nil)
	return a, nil
}

func (a *auth) matches(password string) bool {
	sum := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(sum[:], a.password[:]) == 1
}

// ticket is the value of a login cookie.
func (a *auth) ticket() string {
	b := binary.BigEndian.AppendUint64(nil, uint64(a.now().Add(loginAge).Unix()))
	return base64.RawURLEncoding.EncodeToString(append(b, a.sign(b)...))
}

func (a *auth) sign(b []byte) []byte {
	mac := hmac.New(sha256.New, a.key)
	mac.Write(b)
	return mac.Sum(nil)
}

func (a *auth) valid(ticket string) bool {
	b, err := base64.RawURLEncoding.DecodeString(ticket)
	if err != nil || len(b) != 8+sha256.Size {
		return false
	}
	return hmac.Equal(b[8:], a.sign(b[:8])) && a.now().Unix() < int64(binary.BigEndian.Uint64(b))
}

// in reports whether a request is from somebody who has logged in: by the cookie, or, for programs, with
// HTTP Basic and any user name. Tries with Basic count like tries on the login page.
func (a *auth) in(c echo.Context) (bool, error) {
	if a.mode == AuthNone {
		return true, nil
	}
	if k, err := c.Request().Cookie(loginCookie); err == nil && a.valid(k.Value) {
		return true, nil
	}
	if _, password, ok := c.Request().BasicAuth(); ok {
		return a.try(c, password)
	}
	return false, nil
}

// try compares a password, at most so often per client.
func (a *auth) try(c echo.Context, password string) (bool, error) {
	if a.matches(password) && a.tries.peek(c.RealIP()) {
		return true, nil
	}
	return false, a.tries.allow(c.RealIP(), "wrong passwords")
}

// requireLogin sends people to the login page and tells programs that they may not.
func (s *Server) requireLogin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		in, err := s.auth.in(c)
		if err != nil {
			return err
		}
		if in {
			return next(c)
		}
		if c.Request().Method == http.MethodGet && !wantsJSON(c.Request()) && c.Path() != "/ws" && c.Path() != "/metrics" {
			return c.Redirect(http.StatusSeeOther, "/login?next="+url.QueryEscape(c.Request().URL.RequestURI()))
		}
		c.Response().Header().Set("WWW-Authenticate", `Basic realm="Realign", charset="UTF-8"`)
		return &echo.HTTPError{Code: http.StatusUnauthorized}
	}
}

func (s *Server) showLogin(c echo.Context) error {
	return s.page(c, http.StatusOK, s.loginView(c, localPath(c.QueryParam("next")), ""))
}

func (s *Server) login(c echo.Context) error {
	next := localPath(c.FormValue("next"))
	ok, err := s.auth.try(c, c.FormValue("password"))
	if err != nil {
		return err
	}
	if !ok {
		return s.page(c, http.StatusForbidden, s.loginView(c, next, "That is not the password."))
	}
	c.SetCookie(s.cookie(c, loginCookie, s.auth.ticket(), loginAge))
	return c.Redirect(http.StatusSeeOther, next)
}

func (s *Server) logout(c echo.Context) error {
	gone := s.cookie(c, loginCookie, "", 0)
	gone.MaxAge = -1
	c.SetCookie(gone)
	return c.Redirect(http.StatusSeeOther, "/login")
}

// localPath is a path of this server to go on to; anything else becomes the start page.
func localPath(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n") {
		return "/"
	}
	return path
}

func (s *Server) loginView(c echo.Context, next, message string) view {
	v := templates.Login{Layout: s.layout(c, "Log in", ""), Next: next, Message: message}
	v.NoIndex = true
	return v
}
