package stat

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Interval is an estimate with the ends of its 95% interval. An end that nothing is known of is infinite: one prompt has
// estimates and no interval. In JSON such an end is null.
type Interval struct {
	Estimate float64 // the value itself
	Low      float64 // −∞ where it is not known
	High     float64 // +∞ where it is not known
}

// intervalJSON is how an Interval is written.
type intervalJSON struct {
	Estimate float64  `json:"estimate"`
	Low      *float64 `json:"low"`
	High     *float64 `json:"high"`
}

// MarshalJSON writes an infinite end as null.
func (i Interval) MarshalJSON() ([]byte, error) {
	w := intervalJSON{Estimate: i.Estimate}
	if !math.IsInf(i.Low, 0) {
		w.Low = &i.Low
	}
	if !math.IsInf(i.High, 0) {
		w.High = &i.High
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (i *Interval) UnmarshalJSON(b []byte) error {
	var w intervalJSON
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*i = Unbounded(w.Estimate)
	if w.Low != nil {
		i.Low = *w.Low
	}
	if w.High != nil {
		i.High = *w.High
	}
	return nil
}

// Unbounded is an estimate without an interval.
func Unbounded(estimate float64) Interval {
	return Interval{estimate, math.Inf(-1), math.Inf(1)}
}

// Width is High − Low.
func (i Interval) Width() float64 { return i.High - i.Low }

// Clear reports whether the interval leaves out zero.
func (i Interval) Clear() bool { return i.Low > 0 || i.High < 0 }

// Holds reports whether x is inside the interval.
func (i Interval) Holds(x float64) bool { return i.Low <= x && x <= i.High }

// Known reports whether the interval says anything: both ends are finite.
func (i Interval) Known() bool { return !math.IsInf(i.Low, 0) && !math.IsInf(i.High, 0) }

// String is the estimate with its interval, for people.
func (i Interval) String() string {
	if !i.Known() {
		return Format(i.Estimate) + " (no interval)"
	}
	return fmt.Sprintf("%s [%s, %s]", Format(i.Estimate), Format(i.Low), Format(i.High))
}

// Format is a number in three significant digits, for people.
func Format(x float64) string { return strconv.FormatFloat(x, 'g', 3, 64) }
