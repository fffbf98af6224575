package openai

import (
	"net/http"

	"realign/internal/fault"
)

// ErrorBody is an error as OpenAI's clients read it.
type ErrorBody struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	} `json:"error"`
}

// kinds are OpenAI's words and HTTP's statuses for the kinds of errors.
var kinds = map[fault.Kind]struct {
	word   string
	status int
}{
	fault.Invalid:     {"invalid_request_error", http.StatusBadRequest},
	fault.NotFound:    {"invalid_request_error", http.StatusNotFound},
	fault.Conflict:    {"invalid_request_error", http.StatusConflict},
	fault.Busy:        {"rate_limit_error", http.StatusTooManyRequests},
	fault.Forbidden:   {"authentication_error", http.StatusUnauthorized},
	fault.Unavailable: {"server_error", http.StatusServiceUnavailable},
	fault.Internal:    {"server_error", http.StatusInternalServerError},
}

// Error is an error with its status. The message names the field, too, since some clients show nothing else, and no folder of the
// server.
func Error(err error) (body ErrorBody, status int) {
	f := fault.Of(err)
	kind, ok := kinds[f.Kind]
	if !ok {
		kind = kinds[fault.Internal]
	}
	message := fault.WithoutPaths(f.Message)
	body.Error.Message, body.Error.Type = message, kind.word
	if f.Field != "" {
		field := f.Field
		body.Error.Param = &field
		body.Error.Message = field + ": " + message
	}
	code := ""
	switch {
	case f.Kind == fault.NotFound && f.Field == "model":
		code = "model_not_found"
	case f.Kind == fault.Forbidden:
		code = "invalid_api_key"
	case f.Kind == fault.Busy:
		code = "rate_limit_exceeded"
	}
	if code != "" {
		body.Error.Code = &code
	}
	return body, kind.status
}
