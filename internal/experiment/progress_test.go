package experiment

import (
	"testing"
	"time"
)

// Outputs that come in bursts have a steady rate, which falls once the next burst is late.
func TestRateOfBursts(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var m meter
	m.add(start, 0)
	if got := m.rate(start.Add(10 * time.Second)); got != 0 {
		t.Errorf("before anything came: %g tokens a second", got)
	}
	for second := 1; second <= 300; second++ {
		now := start.Add(time.Duration(second) * time.Second)
		if second%25 == 0 {
			m.add(now, 2000)
		}
		if got := m.rate(now); second >= 25 && got != 80 {
			t.Errorf("after %d s: %g tokens a second, not 80", second, got)
		}
	}
	if got := m.rate(start.Add(330 * time.Second)); got >= 80 || got < 60 {
		t.Errorf("5 s late: %g tokens a second", got)
	}
	if got := m.rate(start.Add(400 * time.Second)); got != 0 {
		t.Errorf("nothing for a minute: %g tokens a second", got)
	}
}
