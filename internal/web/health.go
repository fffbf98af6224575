package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"realign/internal/pair"
)

// healthz is 200 as soon as the server serves.
func (s *Server) healthz(c echo.Context) error {
	return c.String(http.StatusOK, "ok\n")
}

// readyz is 200 while the default pair can decode.
func (s *Server) readyz(c echo.Context) error {
	status, _ := s.pairs.Status()
	for _, p := range status {
		if p.Name == s.defaultPair && p.State == pair.Ready {
			return c.String(http.StatusOK, "ready\n")
		}
	}
	return c.String(http.StatusServiceUnavailable, "the default pair is not loaded\n")
}

func (s *Server) showMetrics() echo.HandlerFunc {
	return echo.WrapHandler(promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{Registry: s.metrics.registry}))
}
