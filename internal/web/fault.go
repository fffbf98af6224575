package web

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
)

// retryAfter is how many seconds a client should wait: a header says it to who was answered busy or unavailable, a body to who was
// answered busy only.
const retryAfter = 2

// statuses are the HTTP statuses of kinds of error, for pages and the socket. The API has its own (openai/error.go).
var statuses = map[fault.Kind]int{
	fault.Invalid:     http.StatusBadRequest,
	fault.NotFound:    http.StatusNotFound,
	fault.Conflict:    http.StatusConflict,
	fault.Busy:        http.StatusTooManyRequests,
	fault.Forbidden:   http.StatusForbidden,
	fault.Unavailable: http.StatusServiceUnavailable,
	fault.Internal:    http.StatusInternalServerError,
}

// handleError turns the error of a handler into an answer: JSON for programs, a page for people, with
// the same code and words. The API answers its own errors (apiErrors), and so do some forms, which show what was sent again.
func (s *Server) handleError(err error, c echo.Context) {
	f, status := outside(err)
	if status >= http.StatusInternalServerError && f.Kind == fault.Internal {
		about := []any{"request_id", requestID(c), "route", c.Path(), "error", err}
		var panicked *panicError
		if errors.As(err, &panicked) {
			about = append(about, "stack", string(panicked.stack))
		}
		s.log.ErrorContext(c.Request().Context(), "request failed", about...)
	}
	if c.Response().Committed {
		return
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	if f.Kind == fault.Busy || f.Kind == fault.Unavailable {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if c.Request().Method == http.MethodHead {
		err = c.NoContent(status)
	} else if wantsJSON(c.Request()) {
		err = c.JSON(status, errorBody(f))
	} else {
		err = s.page(c, status, s.errorView(c, status, f))
	}
	if err != nil {
		s.log.WarnContext(c.Request().Context(), "error page not sent", "request_id", requestID(c), "error", err)
	}
}

// outside is an error as people outside may see it, without paths of the server, with its status. Echo's own errors (no such route,
// method not allowed, body too large) keep their status.
func outside(err error) (*fault.Error, int) {
	f, status := classify(err)
	told := *f
	told.Message = fault.WithoutPaths(f.Message)
	return &told, status
}

// classify finds the kind and the status of any error.
func classify(err error) (*fault.Error, int) {
	var known *fault.Error
	var he *echo.HTTPError
	if !errors.As(err, &known) && errors.As(err, &he) {
		kind := fault.Invalid
		switch {
		case he.Code == http.StatusNotFound:
			return fault.New(fault.NotFound, "there is no such page"), he.Code
		case he.Code == http.StatusMethodNotAllowed:
			return fault.New(fault.Invalid, "this address does not answer to that method"), he.Code
		case he.Code == http.StatusRequestEntityTooLarge:
			return fault.New(fault.Invalid, "the request is larger than the server accepts"), he.Code
		case he.Code == http.StatusForbidden:
			kind = fault.Forbidden
		case he.Code >= http.StatusInternalServerError:
			return fault.Of(err), http.StatusInternalServerError
		}
		return fault.New(kind, "%s", strings.ToLower(http.StatusText(he.Code))), he.Code
	}
	var tooLarge *http.MaxBytesError
	if known == nil && errors.As(err, &tooLarge) {
		return fault.New(fault.Invalid, "the request is larger than the %d bytes the server accepts", tooLarge.Limit),
			http.StatusRequestEntityTooLarge
	}
	f := fault.Of(err)
	status, ok := statuses[f.Kind]
	if !ok {
		status = http.StatusInternalServerError
	}
	return f, status
}

// wireError is an error in JSON: the body of an answer, and part of the socket's error frame.
type wireError struct {
	Code       fault.Kind `json:"code"`
	Field      string     `json:"field,omitempty"` // the input at fault, for an invalid one
	Message    string     `json:"message"`
	RetryAfter int        `json:"retry_after,omitempty"` // seconds; of a busy server only
}

// errorBody is an error as JSON says it, without paths of the server.
func errorBody(f *fault.Error) wireError {
	e := wireError{Code: f.Kind, Field: f.Field, Message: fault.WithoutPaths(f.Message)}
	if f.Kind == fault.Busy {
		e.RetryAfter = retryAfter
	}
	return e
}

// wantsJSON tells a program from a person.
func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.HasSuffix(r.URL.Path, ".json") ||
		r.Header.Get("X-Requested-With") != "" ||
		strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") ||
		strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}
