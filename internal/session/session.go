// Package session holds what a user keeps: sessions, the runs in them with their events, and comparisons
// (frozen runs that can be shared). It has no SQL and no HTTP.
package session

import (
	"time"

	"realign/internal/decode"
)

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
	Spec      Spec      `json:"spec"`
	Status    Status    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Seq       int       `json:"seq"` // number of its last event
}

// Status of a run.
type Status string

const (
	Running Status = "running"
	Ended   Status = "ended"  // every lane ended by itself or was stopped
	Failed  Status = "failed" // at least one lane ended with an error
)

// Spec is what a run was asked to do: enough to do it again.
type Spec struct {
	Pair         string          `json:"pair"`
	Aligned      []string        `json:"aligned"`
	System       string          `json:"system,omitempty"`
	Prompt       string          `json:"prompt"`
	Mode         Mode            `json:"mode"`
	Parent       *Parent         `json:"parent,omitempty"`
	Lanes        []decode.Lane   `json:"lanes"`
	Sampling     decode.Sampling `json:"sampling"`
	Seed         uint64          `json:"seed,string"`
	Alternatives int             `json:"alternatives"`

	// History is the conversation before the prompt, resolved from Parent when the run was made.
	History []decode.Message `json:"history,omitempty"`

	// Files identifies the models it ran on.
	Files []File `json:"files,omitempty"`
	Build string `json:"build,omitempty"` // of the program that decoded it
}

// Mode says how the prompt is given to the models.
type Mode string

const (
	Chat  Mode = "chat"  // through the chat template
	Plain Mode = "plain" // as a text to complete
)

// Parent is the lane whose conversation a run continues.
type Parent struct {
	Run  string `json:"run"`
	Lane int    `json:"lane"`
}

// File is one model file of a pair.
type File struct {
	Role   string `json:"role"` // "reference", or the aligned model's name
	Name   string `json:"name"` // base name of the file
	SHA256 string `json:"sha256"`
}

// Event is one entry of a run's append-only log.
type Event struct {
	Run   string       `json:"run"`
	Seq   int          `json:"seq"` // from 1, without gaps
	Event decode.Event `json:"event"`
}
