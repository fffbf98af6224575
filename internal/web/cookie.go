package web

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// hostPrefix makes browsers refuse a cookie that is not Secure, is for one path only, or was set for a whole domain: no
// other host, and nobody on an unencrypted connection, can set it.
const hostPrefix = "__Host-"

// pathPrefix does so for a server below a path: browsers refuse hostPrefix on a cookie for one path.
const pathPrefix = "__Secure-"

// prefixed is the name of a cookie.
func (s *Server) prefixed(secure bool, name string) string {
	switch {
	case !secure:
		return name
	case s.base != "":
		return pathPrefix + name
	}
	return hostPrefix + name
}

// cookie is a cookie that scripts cannot read and other sites cannot send along with a form. Behind TLS its name has
// a prefix.
func (s *Server) cookie(c echo.Context, name, value string, age time.Duration) *http.Cookie {
	secure := s.secure(c.Request())
	return &http.Cookie{
		Name: s.prefixed(secure, name), Value: value, Path: s.base.at("/"), MaxAge: int(age / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure,
	}
}

// cookieValue is the value of a cookie that cookie made; "" for none.
func (s *Server) cookieValue(r *http.Request, name string) string {
	k, err := r.Cookie(s.prefixed(s.secure(r), name))
	if err != nil {
		return ""
	}
	return k.Value
}

// kept is cookieValue, or, where there is none, the value under the name without the prefix that earlier servers
// gave the cookie behind TLS, too: without it, everything that was made then would have lost its owner.
func (s *Server) kept(r *http.Request, name string) string {
	if value := s.cookieValue(r, name); value != "" {
		return value
	}
	k, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return k.Value
}
