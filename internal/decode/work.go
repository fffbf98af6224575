package decode

import "realign/internal/fault"

// Work is a request that is decoded some time, by whichever worker of its pair has time.
type Work struct {
	Batch   string  // what it belongs to: it is withdrawn and answered by batch
	ID      string  // within the batch
	Pair    string  // whose workers may take it
	Request Request // its Run names it in logs
}

// Answer is what became of a piece of work: replies in the order of its lanes, or why there are none.
type Answer struct {
	Batch   string       `json:"batch"`             // of the Work
	ID      string       `json:"id"`                // of the Work
	Worker  string       `json:"worker"`            // ID of the worker that decoded it
	Replies []Reply      `json:"replies,omitempty"` // in the order of the request's lanes; none where Fault is set
	Fault   *fault.Error `json:"fault,omitempty"`   // why there are no replies; nil where there are
	Seconds float64      `json:"seconds"`           // from its start to its end
}
