package web

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
)

// contentPolicy lets a page load what this server serves and nothing else; no inline script or style.
const contentPolicy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'"

// tlsOnly makes browsers come by TLS only, for a year from each answer that came so.
const tlsOnly = "max-age=31536000"

// headers are sent with every answer.
func (s *Server) headers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if s.secure(c.Request()) {
			h.Set("Strict-Transport-Security", tlsOnly)
		}
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		return next(c)
	}
}

// checkHost refuses names other than our own. Without a login a server on loopback trusts whoever reaches
// it, and a hostile page can make its own name resolve to 127.0.0.1 (DNS rebinding).
func (s *Server) checkHost(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.auth.mode == AuthNone && !s.ownHost(c.Request().Host) {
			return fault.New(fault.Forbidden, "without a login this server answers to localhost only, not to %q", c.Request().Host)
		}
		return next(c)
	}
}

// ownHost reports whether a request's Host is this machine's, or the public address.
func (s *Server) ownHost(host string) bool {
	if s.public != nil && strings.EqualFold(host, s.public.Host) {
		return true
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return loopback(strings.Trim(name, "[]"))
}

// ownOrigin reports whether a browser says that a page of this server made the request.
func (s *Server) ownOrigin(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || u.Host == "" {
		return false
	}
	if s.public != nil {
		if strings.EqualFold(u.Host, s.public.Host) && u.Scheme == s.public.Scheme {
			return true
		}
	}
	return strings.EqualFold(u.Host, r.Host) && (u.Scheme == "http" || u.Scheme == "https")
}

// checkCrossOrigin refuses what a browser says another site sent, whether or not there is a cookie; but for the API from origins
// that were named.
func (s *Server) checkCrossOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := s.crossOrigin.Check(c.Request()); err != nil && !s.fromNamedOrigin(c.Request()) {
			return fault.New(fault.Forbidden, "the request came from another site")
		}
		return next(c)
	}
}

// CheckBind refuses to serve on an address that others can reach when nobody has to log in.
func CheckBind(addr string, mode AuthMode) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fault.Field("addr", "%q is not host:port", addr)
	}
	if mode == AuthNone && !loopback(host) {
		return fault.Field("addr", "%q can be reached from other machines: that needs --auth password "+
			"(and REALIGN_PASSWORD), or use 127.0.0.1", addr)
	}
	return nil
}

// loopback reports whether a host is this machine only.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
