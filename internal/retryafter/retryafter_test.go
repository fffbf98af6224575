package retryafter

import (
	"net/http"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	now := time.Date(2025, 5, 1, 12, 0, 0, 0, time.UTC)
	const most = 5 * time.Minute
	for header, want := range map[string]time.Duration{
		"": 0, "20": 20 * time.Second, " 20 ": 20 * time.Second, "20.5": 20500 * time.Millisecond, "0.001": time.Millisecond, "-1": 0, "NaN": 0,
		"soon": 0, "1e9": most, "1e300": most, "Inf": most,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second, now.Add(-time.Hour).Format(http.TimeFormat): 0,
		now.Add(time.Hour).Format(http.TimeFormat): most,
	} {
		if got := Parse(header, now, most); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}
