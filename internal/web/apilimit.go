package web

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// budget is a token bucket a minute for each key, filled to its whole at first. A cost that is known only afterwards may
// take it below zero: the key then waits until it has filled up again.
type budget struct {
	now func() time.Time

	mu      sync.Mutex // guards buckets
	buckets map[string]*rate.Limiter
}

func newBudget(now func() time.Time) *budget {
	return &budget{now: now, buckets: map[string]*rate.Limiter{}}
}

// take reports whether a key has something left, and takes n if so.
func (b *budget) take(key string, perMinute, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.buckets[key]
	if !ok || l.Burst() != perMinute {
		l = rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)
		b.buckets[key] = l
	}
	now := b.now()
	if l.TokensAt(now) < 1 && n <= 1 {
		return false
	}
	for n > 0 { // a reservation may not be larger than the bucket
		part := min(n, perMinute)
		l.ReserveN(now, part)
		n -= part
	}
	return true
}

// places are calls at the same time: of all clients, and half of them at most of one.
type places struct {
	most int

	mu  sync.Mutex // guards what follows
	all int
	by  map[string]int
}

func newPlaces(most int) *places { return &places{most: most, by: map[string]int{}} }

func (p *places) enter(who *client) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= p.most || p.by[who.owner] >= max(1, p.most/2) {
		return false
	}
	p.all++
	p.by[who.owner]++
	return true
}

func (p *places) leave(who *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.by[who.owner]--; p.by[who.owner] == 0 {
		delete(p.by, who.owner)
	}
}
