package sweep

import (
	"encoding/json"
	"time"
)

// Sweep is a sweep as it is kept, but for its outputs.
type Sweep struct {
	ID         string
	Owner      string
	Instance   string // the server that runs it
	Experiment string // whose outputs it is about: its own, which has its id, or one that was there
	Setup      Setup
	State      State
	Before     State  // that a sweep which is judged again goes back to
	Reason     string // of the state, for people
	Created    time.Time
	Ended      time.Time       // zero until it has ended
	Report     json.RawMessage // nil until it is done
}

// Title is the name of the sweep, or what stands for one.
func (s *Sweep) Title() string { return title(s.Setup.Config.Name, s.ID) }

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
	Reason                  string
	Prompts, Outputs        int
	Created, Ended          time.Time
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
	ColumnKL     = "kl"
	ColumnTokens = "tokens"
)

// Query asks for a page of the table prompts × λ.
type Query struct {
	Column   string   // a reward's name, ColumnKL or ColumnTokens
	Sort     *float64 // λ at whose mean prompts are sorted; nil is their own order
	Reverse  bool     // the largest first, or the last prompt
	Search   string   // in prompts
	Category string
	Gaps     bool // only prompts with a cell that failed or is not judged in this column
	Offset   int
	Limit    int
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
	Prompt   int
	Text     string // its beginning
	Category string
	Means    []Mean // by λ, ascending
}

// Mean is what a prompt's samples at one λ come to in a column.
type Mean struct {
	Lambda float64
	Mean   float64 // of Count values; 0 without any
	Count  int
	Cells  int // decoded, failed ones included
}
