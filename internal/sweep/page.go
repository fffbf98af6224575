package sweep

import (
	"encoding/json"
	"time"
)

// Sweep is a sweep as it is kept, but for its outputs. The runner makes it and moves its state; a sweep that has
// ended may be judged again, and is removed when its owner deletes it.
type Sweep struct {
	ID         string          // random, unique among all servers
	Owner      string          // who may see it
	Instance   string          // the server that runs it
	Experiment string          // whose outputs it is about: its own, which has its id, or one that was there
	Setup      Setup           // as it was started, rewards that were added included
	State      State           // see State
	Before     State           // that a sweep which is judged again goes back to
	Reason     string          // of the state, for people
	Created    time.Time       // when it was started
	Ended      time.Time       // zero until it has ended
	Report     json.RawMessage // nil until it is done
}

// Title is the name of the sweep, or what stands for one.
func (s *Sweep) Title() string { return title(s.Setup.Config.Name, s.ID) }

// title is a name, or one made of the id.
func title(name, id string) string {
	if name == "" {
		return "Sweep " + id[:min(6, len(id))]
	}
	return name
}

// Summary is a sweep in a list.
type Summary struct {
	ID, Name, Pair, Aligned string
	State                   State
	Reason                  string    // of the state, for people
	Prompts, Outputs        int       // how many it has
	Created, Ended          time.Time // Ended is zero while it goes on
}

// Title is the name of the sweep, or what stands for one.
func (s *Summary) Title() string { return title(s.Name, s.ID) }

// Judged are values that rewards gave a cell, by the rewards' names.
type Judged struct {
	Cell
	Values map[string]Value
}

// Column names what a table of a sweep shows: a reward, or one of these.
const (
	ColumnKL     = "kl"     // KL to the reference, nats per answer
	ColumnTokens = "tokens" // length, in tokens
)

// Query asks for a page of the table prompts × λ.
type Query struct {
	Column   string   // a reward's name, ColumnKL or ColumnTokens
	Sort     *float64 // λ at whose mean prompts are sorted; nil is their own order
	Reverse  bool     // the largest first, or the last prompt
	Search   string   // in prompts
	Category string   // of the prompts; "" is all
	Gaps     bool     // only prompts with a cell that failed or is not judged in this column
	Offset   int      // rows before the page
	Limit    int      // rows of the page; MaxPage at most
}

// MaxPage is the most rows of one page of the table.
const MaxPage = 200

// Page is part of the table prompts × λ.
type Page struct {
	Rows  []PageRow
	Total int // rows that match
}

// PageRow is one prompt.
type PageRow struct {
	Prompt   int    // its index, from 0
	Text     string // its beginning
	Category string
	Means    []Mean // by λ, ascending
}

// Mean is what a prompt's samples at one λ come to in a column.
type Mean struct {
	Lambda float64
	Mean   float64 // of Count values; 0 without any
	Count  int     // cells with a value
	Cells  int     // decoded, failed ones included
}

// Key is what a sweep is found by.
type Key struct{ ID, Owner string }
