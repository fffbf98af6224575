package web

import (
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// requestKey is where a request has its id: in its context, and in the log.
const requestKey = "request_id"

// requestID is the id that record gave a request; "" before that.
func requestID(c echo.Context) string {
	id, _ := c.Get(requestKey).(string)
	return id
}

// record gives a request an id, and afterwards counts and logs it. It logs the path only where the path
// holds no share token, and never a query.
func (s *Server) record(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := s.now()
		b := make([]byte, 8)
		rand.Read(b) // never fails
		id := hex.EncodeToString(b)
		c.Set(requestKey, id)
		c.Response().Header().Set("X-Request-Id", id)

		if err := next(c); err != nil {
			c.Error(err) // answers here, so that the status is known below
		}

		r, status, took := c.Request(), c.Response().Status, s.now().Sub(start)
		route := c.Path()
		if route == "" || status == http.StatusNotFound && route == "/*" {
			route = "unknown"
		}
		s.metrics.requests.WithLabelValues(method(r.Method), route, strconv.Itoa(status)).Inc()
		if route == "/ws" {
			return nil // its length says nothing about speed, and the socket logs itself
		}
		s.metrics.seconds.WithLabelValues(route).Observe(took.Seconds())

		attrs := []slog.Attr{
			slog.String(requestKey, id), slog.String("method", method(r.Method)), slog.String("route", route),
			slog.Int("status", status), slog.Int64("bytes", c.Response().Size),
			slog.Duration("took", took.Round(time.Microsecond)), slog.String("client", c.RealIP()),
		}
		if route != "unknown" && strings.Contains(route, ":id") {
			attrs = append(attrs, slog.String("id", c.Param("id")))
		}
		level := slog.LevelInfo
		if route == "/healthz" || route == "/readyz" || route == "/metrics" || strings.HasPrefix(route, "/static") {
			level = slog.LevelDebug
		}
		s.log.LogAttrs(r.Context(), level, "request", attrs...)
		return nil
	}
}

// method keeps made-up methods out of labels and logs.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "other"
}
