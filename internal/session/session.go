// Package session holds what a user keeps: sessions, the runs in them with their logs of events, and
// comparisons (frozen runs that can be shared). Its Hub runs the runs: it hands them to a decoder, numbers
// and saves what comes back, and lets any number of watchers follow. It has no SQL and no HTTP.
package session

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
)

// MaxTitle is how many characters a title may have.
const MaxTitle = 200

// Session is an ordered list of runs, owned by someone.
type Session struct {
	ID        string    `json:"id"`
	Owner     string    `json:"-"`
	Title     string    `json:"title"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	DeletedAt time.Time `json:"deleted_at,omitzero"` // zero unless deleted; kept for undo
	Runs      int       `json:"runs"`                // how many it has
}

// Run is one conversation decoded on a set of lanes.
type Run struct {
	ID        string    `json:"id"`
	Session   string    `json:"session"`
	Owner     string    `json:"-"`
	Instance  string    `json:"-"` // the server that decodes it
	Spec      Spec      `json:"spec"`
	Status    Status    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Seq       int       `json:"seq"`   // number of its last event
	Lanes     int       `json:"lanes"` // how many it has, those added later included
	Imported  *Imported `json:"-"`     // nil unless it came in a file
}

// Status of a run.
type Status string

const (
	Running Status = "running"
	Ended   Status = "ended"  // every lane ended by itself or was stopped
	Failed  Status = "failed" // at least one lane ended with an error
)

// Event is one entry of a run's append-only log, encoded once, before it is stored.
type Event struct {
	Run   string          `json:"run"`
	Seq   int             `json:"seq"`   // from 1, without gaps
	Event json.RawMessage `json:"event"` // a decode.Event
}

// Decode is the event itself.
func (e Event) Decode() (decode.Event, error) {
	var d decode.Event
	if err := json.Unmarshal(e.Event, &d); err != nil {
		return d, fault.Wrap(err, fault.Internal, "event %d of run %s cannot be read", e.Seq, e.Run)
	}
	return d, nil
}

// NewID is an identifier nobody else has and nobody can guess: 80 random bits, fit for an address.
func NewID() string { return strings.ToLower(rand.Text()[:16]) }

// CleanTitle is a title as it is kept: one line, without control characters. It is Invalid when empty or
// longer than MaxTitle characters.
func CleanTitle(title string) (string, error) {
	title = oneLine(title)
	if title == "" {
		return "", fault.Field("title", "is empty")
	}
	if n := utf8.RuneCountInString(title); n > MaxTitle {
		return "", fault.Field("title", "%d characters, at most %d", n, MaxTitle)
	}
	return title, nil
}

// TitleOf is the title a session gets from its first prompt.
func TitleOf(prompt string) string { return beginning(prompt, 80) }

// beginning is a text on one line, of n characters at most, cut between words where it can be.
func beginning(text string, n int) string {
	text = oneLine(text)
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	text = string([]rune(text)[:n-1])
	if i := strings.LastIndexByte(text, ' '); i > n/2 {
		text = text[:i]
	}
	return text + "…"
}

// oneLine replaces control characters and runs of space by single spaces.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
