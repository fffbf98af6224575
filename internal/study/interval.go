package study

// Interval is an estimate with the ends of its 95% interval.
type Interval struct {
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
}

// Width is High − Low.
func (i Interval) Width() float64 { return i.High - i.Low }
