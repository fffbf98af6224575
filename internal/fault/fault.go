// Package fault names the few kinds of error that cross package borders, so that one table can turn
// each into an HTTP status or an exit code. It is not a logging package: an error is logged or
// returned, not both.
package fault

import (
	"errors"
	"fmt"
)

// Kind says what a caller can do about an error.
type Kind string

// The kinds.
const (
	Invalid     Kind = "invalid"     // the request is wrong: change it
	NotFound    Kind = "not_found"   // there is no such thing, or it is not yours to see
	Conflict    Kind = "conflict"    // the thing is not in a state that allows this
	Busy        Kind = "busy"        // a bounded queue is full: try again later
	Forbidden   Kind = "forbidden"   // you may not
	Unavailable Kind = "unavailable" // a part that is needed is not running now
	Internal    Kind = "internal"    // our mistake: details are in the log
)

// Error is an error that a person outside may read, but for its cause. New, Field and Wrap make it; it is not
// changed afterwards.
type Error struct {
	Kind    Kind   `json:"code"`
	Field   string `json:"field,omitempty"` // the input at fault, for Invalid
	Message string `json:"message"`         // for people; it may name a file of the server: see Outside
	cause   error  // for the log; nil: there is none
}

// Error is the whole, with the field and the cause, for the log and the command line.
func (e *Error) Error() string {
	text := e.Message
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap is the cause, for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.cause }

// New makes an error of a kind.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Field makes an Invalid error about one input field. The message names the limit that was broken.
func Field(field, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Wrap gives a cause a kind and a message for people outside; the cause itself is only logged.
func Wrap(cause error, kind Kind, format string, args ...any) *Error {
	e := New(kind, format, args...)
	e.cause = cause
	return e
}

// Of is an error as people outside may see it: the outermost *Error in its chain, or one that says
// "internal error". It is nil for nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Internal, Message: "internal error", cause: err}
}

// KindOf is the kind of an error: Internal when nothing in its chain says otherwise, "" for nil.
func KindOf(err error) Kind {
	if e := Of(err); e != nil {
		return e.Kind
	}
	return ""
}
