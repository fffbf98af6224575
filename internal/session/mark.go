package session

// Mark is what the owner of a run has said of it, and its number in its session.
type Mark struct {
	Place  int    // from 1; it stays when other runs are deleted
	Title  string // "" is the prompt's beginning
	Pinned bool
}

// Choice is some sessions and runs, by id.
type Choice struct {
	Sessions []string
	Runs     []string
}

// MaxChoice is how many sessions and runs may be chosen at once.
const MaxChoice = 500
