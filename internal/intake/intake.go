// Package intake holds the limits on what comes in from outside: how much memory and disk all uploads may take together,
// and how much one JSON value may unfold to. It reads no format of its own and knows nothing of HTTP.
package intake

import (
	"context"
	"io"
	"sync"
	"time"

	"realign/internal/fault"
)

// Budget is a number of bytes that many share. It may be used by any goroutine.
type Budget struct {
	name string // what the bytes are, for the error
	most int64  // bytes

	mu    sync.Mutex    // guards what follows
	taken int64         // bytes
	freed chan struct{} // closed, and made anew, when bytes are given back
}

// NewBudget is a budget of so many bytes.
func NewBudget(name string, most int64) *Budget {
	return &Budget{name: name, most: most, freed: make(chan struct{})}
}

// Most is how many bytes there are in all.
func (b *Budget) Most() int64 { return b.most }

// Taken is how many bytes are taken now.
func (b *Budget) Taken() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken
}

// Take takes n bytes and returns what gives them back; it may be called twice. While there are too few it waits, at most
// so long: then it is Busy. More than the whole budget is Invalid at once.
func (b *Budget) Take(ctx context.Context, n int64, wait time.Duration) (release func(), err error) {
	if n > b.most {
		return nil, fault.New(fault.Invalid, "needs %d MiB of %s, where %d MiB are all there is", n>>20, b.name, b.most>>20)
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		b.mu.Lock()
		if b.taken+n <= b.most {
			b.taken += n
			b.mu.Unlock()
			var once sync.Once
			return func() { once.Do(func() { b.give(n) }) }, nil
		}
		freed := b.freed
		b.mu.Unlock()
		select {
		case <-freed:
		case <-timeout.C:
			return nil, fault.New(fault.Busy, "other uploads take all the %s there is: try again in a moment", b.name)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// give gives bytes back and wakes all who wait.
func (b *Budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken -= n
	close(b.freed)
	b.freed = make(chan struct{})
}

// Allowance is a reader that refuses to read more than what it was last allowed. It is for decoders that hold a whole value
// in memory: Allow is called before each. It is used by one goroutine.
type Allowance struct {
	R    io.Reader
	left int64 // bytes
	full bool  // it has refused
}

// Allow lets n more bytes through, whatever was left.
func (a *Allowance) Allow(n int64) { a.left = n }

// Full reports whether something was refused.
func (a *Allowance) Full() bool { return a.full }

// Read implements io.Reader.
func (a *Allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		a.full = true
		return 0, fault.New(fault.Invalid, "one value is larger than the program reads")
	}
	if int64(len(p)) > a.left {
		p = p[:a.left]
	}
	n, err := a.R.Read(p)
	a.left -= int64(n)
	return n, err
}
