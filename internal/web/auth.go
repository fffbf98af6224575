package web

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/web/templates"
)

// AuthMode says who may use the server.
type AuthMode string

// Who may use the server.
const (
	AuthNone     AuthMode = "none"     // whoever reaches it: loopback only
	AuthPassword AuthMode = "password" // who knows the password
)

// Cookies of who has logged in, and what a password must have.
const (
	loginCookie  = "realign_login"
	deviceCookie = "realign_device"
	loginAge     = 30 * 24 * time.Hour
	minLength    = 8 // characters of a password
)

// Logins keeps who has logged in, by an id that does not tell the cookie's value.
type Logins interface {
	// AddLogin keeps a login until a moment, and forgets those whose moment is before now.
	AddLogin(ctx context.Context, id string, now, expires time.Time) error

	// HasLogin reports whether a login is kept whose moment is after now.
	HasLogin(ctx context.Context, id string, now time.Time) (bool, error)

	// RemoveLogin forgets a login; one that is not kept is no error.
	RemoveLogin(ctx context.Context, id string) error
}

// auth decides who has logged in. A login is a random cookie; what is kept of it is its keyed hash, and the password is part
// of the key, so a new password ends every login. Logging out removes the login and ends its sockets, whoever holds the cookie.
type auth struct {
	mode     AuthMode          // what visitors need
	password [sha256.Size]byte // digest of the password
	key      []byte            // of the hashes that are kept of logins
	logins   Logins            // nil without passwords
	now      func() time.Time
	tries    *tries // wrong passwords lately, by device and by network

	mu   sync.Mutex                         // guards what follows
	open map[string]map[int]func(err error) // what ends the sockets of a login: by the login's hash and the socket's number
	last int                                // number that a socket got last
}

// newAuth makes it of a configuration. The error is Invalid. Without a secret of its own, one is made that lasts as long as
// the process, and with it every login.
func newAuth(c *Config) (*auth, error) {
	a := &auth{mode: c.Auth, logins: c.Logins, now: c.Now, tries: newTries(c.Now), open: map[string]map[int]func(error){}}
	switch c.Auth {
	case AuthNone:
		return a, nil
	case AuthPassword:
		if len([]rune(c.Password)) < minLength {
			return nil, fault.Field("password", "REALIGN_PASSWORD needs at least %d characters", minLength)
		}
		if a.logins == nil {
			return nil, fault.Field("auth", "there is nothing to keep logins in")
		}
	default:
		return nil, fault.Field("auth", "%q is neither none nor password", c.Auth)
	}
	secret := c.Secret
	if len(secret) == 0 {
		secret = make([]byte, 32)
		rand.Read(secret) // never fails
	}
	a.password = sha256.Sum256([]byte(c.Password))
	mac := hmac.New(sha256.New, secret)
	mac.Write(a.password[:])
	a.key = mac.Sum(nil)
	return a, nil
}

// matches compares a password in a time that tells nothing of it.
func (a *auth) matches(password string) bool {
	sum := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(sum[:], a.password[:]) == 1
}

// id is what is kept of a secret, for one use of it.
func (a *auth) id(use, secret string) string {
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte(use + "\x00" + secret))
	return hex.EncodeToString(mac.Sum(nil))
}

// logIn makes a login and returns the value of its cookie.
func (a *auth) logIn(ctx context.Context) (string, error) {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	ticket := base64.RawURLEncoding.EncodeToString(b)
	now := a.now()
	return ticket, a.logins.AddLogin(ctx, a.id("login", ticket), now, now.Add(loginAge))
}

// logOut ends a login and its sockets.
func (a *auth) logOut(ctx context.Context, ticket string) error {
	id := a.id("login", ticket)
	err := a.logins.RemoveLogin(ctx, id)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, end := range a.open[id] {
		end(errLoggedOut)
	}
	return err
}

// holds is the id of the login that a ticket stands for; "" for none.
func (a *auth) holds(ctx context.Context, ticket string) (string, error) {
	if a.mode == AuthNone || ticket == "" || len(ticket) > 64 {
		return "", nil
	}
	id := a.id("login", ticket)
	has, err := a.logins.HasLogin(ctx, id, a.now())
	if err != nil || !has {
		return "", err
	}
	return id, nil
}

// follow calls end when a login is logged out here, until stop is called. "" is nobody's login.
func (a *auth) follow(id string, end func(error)) (stop func()) {
	if id == "" {
		return func() {}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	n := a.last
	if a.open[id] == nil {
		a.open[id] = map[int]func(error){}
	}
	a.open[id][n] = end
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if delete(a.open[id], n); len(a.open[id]) == 0 {
			delete(a.open, id)
		}
	}
}

// still reports whether a login has not ended, here or by another server on the same database. A database that does not
// answer ends nothing.
func (a *auth) still(ctx context.Context, id string) bool {
	if id == "" {
		return true
	}
	has, err := a.logins.HasLogin(ctx, id, a.now())
	return has || err != nil
}

// device is the value of a cookie for a browser that has logged in, and known whether one is.
func (a *auth) device() string {
	name := rand.Text()
	return name + "." + a.id("device", name)
}

// knownDevice is the name in a device's cookie, and whether device made it.
func (a *auth) knownDevice(value string) (name string, ok bool) {
	name, sum, _ := strings.Cut(value, ".")
	return name, a.mode == AuthPassword && hmac.Equal([]byte(sum), []byte(a.id("device", name)))
}

// in reports whether a request is from somebody who has logged in: by the cookie, whose login's id is returned, or, for
// programs, with HTTP Basic and any user name. Tries with Basic count like tries on the login page.
func (s *Server) in(c echo.Context) (login string, in bool, err error) {
	if s.auth.mode == AuthNone {
		return "", true, nil
	}
	login, err = s.auth.holds(c.Request().Context(), s.cookieValue(c.Request(), loginCookie))
	if err != nil || login != "" {
		return login, err == nil, err
	}
	if _, password, ok := c.Request().BasicAuth(); ok {
		in, err = s.try(c, password)
	}
	return "", in, err
}

// try compares a password, at most so often.
func (s *Server) try(c echo.Context, password string) (bool, error) {
	device, known := s.auth.knownDevice(s.cookieValue(c.Request(), deviceCookie))
	if !known {
		device = ""
	}
	return s.auth.tries.try(device, network(c), s.auth.matches(password))
}

// requireLogin sends people to the login page and tells programs that they may not.
func (s *Server) requireLogin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		login, in, err := s.in(c)
		if err != nil {
			return err
		}
		if in {
			c.Set(loginCookie, login)
			return next(c)
		}
		if c.Request().Method == http.MethodGet && !wantsJSON(c.Request()) && c.Path() != "/ws" && c.Path() != "/metrics" {
			return c.Redirect(http.StatusSeeOther, "/login?next="+url.QueryEscape(c.Request().URL.RequestURI()))
		}
		c.Response().Header().Set("WWW-Authenticate", `Basic realm="Realign", charset="UTF-8"`)
		return &echo.HTTPError{Code: http.StatusUnauthorized}
	}
}

// showLogin is GET /login: "next", where to go on.
func (s *Server) showLogin(c echo.Context) error {
	return s.page(c, http.StatusOK, s.loginView(c, localPath(c.QueryParam("next")), ""))
}

// login is POST /login: "password" and "next". A browser that logs in becomes a known device.
func (s *Server) login(c echo.Context) error {
	next := localPath(c.FormValue("next"))
	ok, err := s.try(c, c.FormValue("password"))
	if err != nil {
		return err
	}
	if !ok {
		return s.page(c, http.StatusForbidden, s.loginView(c, next, "That is not the password."))
	}
	if s.auth.mode == AuthPassword {
		ticket, err := s.auth.logIn(c.Request().Context())
		if err != nil {
			return err
		}
		c.SetCookie(s.cookie(c, loginCookie, ticket, loginAge))
		if _, known := s.auth.knownDevice(s.cookieValue(c.Request(), deviceCookie)); !known {
			c.SetCookie(s.cookie(c, deviceCookie, s.auth.device(), ownerAge))
		}
	}
	return c.Redirect(http.StatusSeeOther, next)
}

// logout is POST /logout. The cookie is removed even where the login cannot be, and then the answer says so.
func (s *Server) logout(c echo.Context) error {
	gone := s.cookie(c, loginCookie, "", 0)
	gone.MaxAge = -1
	c.SetCookie(gone)
	if ticket := s.cookieValue(c.Request(), loginCookie); ticket != "" && s.auth.mode == AuthPassword {
		if err := s.auth.logOut(c.Request().Context(), ticket); err != nil {
			return err
		}
	}
	return c.Redirect(http.StatusSeeOther, "/login")
}

// localPath is a path of this server to go on to; anything else becomes the start page. Browsers leave out tabs and line
// ends, take a backslash for a slash, and read what follows two slashes as a host.
func localPath(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return "/"
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" ||
		!strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//") {
		return "/"
	}
	return text
}

// loginView is the login page; message says what was wrong.
func (s *Server) loginView(c echo.Context, next, message string) view {
	v := templates.Login{Layout: s.layout(c, "Log in", ""), Next: next, Message: message}
	v.NoIndex = true
	return v
}
