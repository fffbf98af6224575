package session

import (
	"time"
)

// Session is an ordered list of runs, owned by someone. It is made with its first run or by an import, and is
// removed for good a month after it was deleted.
type Session struct {
	ID        string    `json:"id"`    // random, unique among all servers
	Owner     string    `json:"-"`     // who may see it
	Title     string    `json:"title"` // the beginning of its first prompt, until its owner gives another
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	DeletedAt time.Time `json:"deleted_at,omitzero"` // zero unless deleted; kept for undo
	PinnedAt  time.Time `json:"pinned_at,omitzero"`  // zero unless it is kept at the top of the list
	Runs      int       `json:"runs"`                // how many it has
}
