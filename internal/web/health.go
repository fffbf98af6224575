package web

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"realign/internal/pair"
)

// healthz is 200 as soon as the server serves.
func (s *Server) healthz(c echo.Context) error {
	return c.String(http.StatusOK, "ok\n")
}

// pingTime is how long the database may take to answer /readyz.
const pingTime = 2 * time.Second

// readyz is 200 while the database and NATS answer and the default pair can decode.
func (s *Server) readyz(c echo.Context) error {
	if s.database != nil {
		ctx, cancel := context.WithTimeout(c.Request().Context(), pingTime)
		defer cancel()
		if err := s.database.Ping(ctx); err != nil {
			s.log.WarnContext(ctx, "not ready", "error", err)
			return c.String(http.StatusServiceUnavailable, "the database does not answer\n")
		}
	}
	if s.messages != nil {
		ctx, cancel := context.WithTimeout(c.Request().Context(), pingTime)
		defer cancel()
		if err := s.messages.Ping(ctx); err != nil {
			s.log.WarnContext(ctx, "not ready", "error", err)
			return c.String(http.StatusServiceUnavailable, "the NATS server does not answer\n")
		}
	}
	status, _ := s.pairs.Status()
	for _, p := range status {
		if p.Name == s.defaultPair && p.State == pair.Ready {
			return c.String(http.StatusOK, "ready\n")
		}
	}
	return c.String(http.StatusServiceUnavailable, "the default pair is not loaded\n")
}

// showMetrics is GET /metrics, for Prometheus.
func (s *Server) showMetrics() echo.HandlerFunc {
	return echo.WrapHandler(promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{Registry: s.metrics.registry}))
}
