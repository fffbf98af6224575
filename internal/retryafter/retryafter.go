// Package retryafter reads the header by which HTTP servers say how long they are to be left alone. It neither waits nor asks
// again.
package retryafter

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Parse is the pause that a Retry-After header asks for: seconds, of which servers also send fractions, or a date (RFC 9110,
// §10.2.3). It is at least 0, which is also that of a header that says nothing readable, and at most most.
func Parse(header string, now time.Time, most time.Duration) time.Duration {
	header = strings.TrimSpace(header)
	var wait time.Duration
	if seconds, err := strconv.ParseFloat(header, 64); err == nil {
		if !(seconds > 0) { // nor a NaN
			return 0
		}
		wait = time.Duration(math.Ceil(min(seconds, most.Seconds()) * float64(time.Second)))
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	}
	return max(0, min(wait, most))
}
