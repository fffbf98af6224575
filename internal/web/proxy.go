package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
)

// proxies are the reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed. Anybody can send these
// headers, so nobody's are believed by default.
type proxies []netip.Prefix

// ParseProxies reads addresses and networks of proxies, such as 127.0.0.1 or 10.1.0.0/16.
func ParseProxies(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			var at netip.Addr
			if at, err = netip.ParseAddr(text); err == nil {
				p = netip.PrefixFrom(at.Unmap().WithZone(""), at.Unmap().BitLen())
			}
		}
		if err != nil || p.Bits() == 0 {
			return nil, fault.Field("trusted-proxy", "%.60q is not the address or network of a proxy, like 127.0.0.1 or 10.1.0.0/16", text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// extractor finds the address of a client: that of the connection, or, behind trusted proxies, the last one in
// X-Forwarded-For that is not a trusted proxy's.
func (p proxies) extractor() echo.IPExtractor {
	if len(p) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, prefix := range p {
		bits := 32
		if prefix.Addr().Is6() {
			bits = 128
		}
		options = append(options, echo.TrustIPRange(&net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), bits)}))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}

// sent reports whether a request came by one of the proxies.
func (p proxies) sent(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	for _, prefix := range p {
		if prefix.Contains(at.Addr().Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// secure reports whether the browser reached us over TLS: as the connection says, a trusted proxy, or the public address.
func (s *Server) secure(r *http.Request) bool {
	if r.TLS != nil || s.public != nil && s.public.Scheme == "https" {
		return true
	}
	return s.proxies.sent(r) && strings.EqualFold(r.Header.Get(echo.HeaderXForwardedProto), "https")
}

// network is the client of a request for limits: an IPv4 address, or the /64 network that one IPv6 subscriber has.
func network(c echo.Context) string {
	at, err := netip.ParseAddr(c.RealIP())
	if err != nil {
		return c.RealIP()
	}
	if at = at.Unmap().WithZone(""); at.Is4() {
		return at.String()
	}
	p, _ := at.Prefix(64) // fails for more bits than an address has
	return p.String()
}

// noteProxy warns once that a proxy stands before the server and is not named: then all who come by it share their limits.
func (s *Server) noteProxy(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.Header.Get(echo.HeaderXForwardedFor) != "" && !s.proxies.sent(r) {
			s.unnamed.Do(func() {
				s.log.Warn("X-Forwarded-For is ignored: name the proxy with --trusted-proxy, or all who come by it count as one client", "from", r.RemoteAddr)
			})
		}
		return next(c)
	}
}
