package web

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"realign/internal/fault"
)

// budget is a token bucket a minute for each key, filled to its whole at first. A cost that is known only afterwards may
// take it below zero: the key then waits until it has filled up again.
type budget struct {
	now func() time.Time

	mu      sync.Mutex               // guards buckets
	buckets map[string]*rate.Limiter // by key
}

// newBudget is a budget of which nothing is taken.
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

// places are calls at the same time: of all clients, and half of them at most of one, from one network or with one key. A key may
// have a limit of lanes, in all of its calls together.
type places struct {
	most int // calls of all clients

	mu  sync.Mutex        // guards what follows
	all int               // calls at work
	by  map[string]*taken // by client.place: those with a call at work
}

// taken is what one client has at work.
type taken struct{ calls, lanes int }

// newPlaces is so many places, all of them free.
func newPlaces(most int) *places { return &places{most: most, by: map[string]*taken{}} }

// enter takes a place for a call of so many lanes, or says which are taken.
func (p *places) enter(who *client, lanes int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	its := p.by[who.place]
	if its == nil {
		its = &taken{}
	}
	if p.all >= p.most || its.calls >= max(1, p.most/2) {
		return fault.New(fault.Busy, "too many calls at the same time: wait a little and try again")
	}
	if k := who.key; k != nil && k.Lanes > 0 && its.lanes+lanes > k.Lanes {
		return fault.New(fault.Busy, "the API key %s has %d lanes at work, and may have %d at the same time: wait until a call is answered", k.Name, its.lanes, k.Lanes)
	}
	p.all++
	its.calls++
	its.lanes += lanes
	p.by[who.place] = its
	return nil
}

// leave gives back what enter took.
func (p *places) leave(who *client, lanes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	its := p.by[who.place]
	its.calls--
	its.lanes -= lanes
	if its.calls == 0 {
		delete(p.by, who.place)
	}
}
