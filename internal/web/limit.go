package web

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"realign/internal/fault"
)

// limiter is a token bucket per client. It remembers a bounded number of clients: when it is full, the
// ones whose bucket has filled up again are forgotten, which changes nothing for them.
type limiter struct {
	every time.Duration // how long until a bucket has one token more
	burst int           // tokens of a full bucket
	most  int           // clients that are remembered
	now   func() time.Time

	mu      sync.Mutex // guards buckets
	buckets map[string]*rate.Limiter
}

// newLimiter is a limiter of which all buckets are full.
func newLimiter(every time.Duration, burst, most int, now func() time.Time) *limiter {
	return &limiter{every: every, burst: burst, most: most, now: now, buckets: map[string]*rate.Limiter{}}
}

// allow takes one token of a client's bucket, or returns a Busy error that says what there was too much of.
func (l *limiter) allow(client, what string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b, ok := l.buckets[client]
	if !ok {
		if len(l.buckets) >= l.most {
			l.forget(now)
		}
		if len(l.buckets) >= l.most {
			return fault.New(fault.Busy, "too many %s: wait a little and try again", what)
		}
		b = rate.NewLimiter(rate.Every(l.every), l.burst)
		l.buckets[client] = b
	}
	if !b.AllowN(now, 1) {
		return fault.New(fault.Busy, "too many %s: wait a little and try again", what)
	}
	return nil
}

// peek reports whether a client has a token left, without taking one.
func (l *limiter) peek(client string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[client]
	return !ok || b.TokensAt(l.now()) >= 1
}

// forget drops the clients whose bucket is full. The caller holds mu.
func (l *limiter) forget(now time.Time) {
	for client, b := range l.buckets {
		if b.TokensAt(now) >= float64(l.burst) {
			delete(l.buckets, client)
		}
	}
}
