package session

import (
	"time"
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
