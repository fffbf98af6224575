package sweep

// Plan is what a sweep has to decode next.
type Plan struct {
	Stage    int    `json:"stage"`
	Items    []Item `json:"items"`    // of the stage, those with a cell that has no output yet
	Unjudged []Cell `json:"unjudged"` // of the stage, those with an output that lacks a reward
	Done     bool   `json:"done"`
	Reason   string `json:"reason"`   // why it is done, or what the stage is for
	Tokens   int    `json:"tokens"`   // decoded so far
	Expected int    `json:"expected"` // decoded when all is done: a guess from what there is, for time left
}
