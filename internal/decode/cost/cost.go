// Package cost keeps what a kind of pass takes, as an engine measures it while it works.
package cost

// staleAfter is the number of steps after which a cost is measured anew.
const staleAfter = 1000

// Cost is a moving average of seconds. It begins with the better of two measurements, and begins anew when it is stale: the
// first pass of a kind that was not made for long finds threads asleep. The zero Cost is one that was never measured.
type Cost struct {
	Seconds  float64 // the average
	measured int     // the step when it was measured last; 0: never
	begun    int     // measurements of the beginning, 2 at most
}

// Add is the cost with one more measurement, taken in a step of this number (from 1).
func (c Cost) Add(seconds float64, step int) Cost {
	switch {
	case c.Stale(step):
		return Cost{seconds, step, 1}
	case c.begun == 1:
		return Cost{min(c.Seconds, seconds), step, 2}
	}
	seconds = min(seconds, 4*c.Seconds) // somebody else had the processor
	return Cost{c.Seconds + 0.1*(seconds-c.Seconds), step, 2}
}

// Stale reports whether it was not measured for long, or never.
func (c Cost) Stale(step int) bool { return c.measured == 0 || step-c.measured > staleAfter }

// Unsure reports whether it is stale or was measured once only.
func (c Cost) Unsure(step int) bool { return c.Stale(step) || c.begun < 2 }

// Known reports whether it was ever measured.
func (c Cost) Known() bool { return c.measured > 0 }
