package run

import (
	"context"

	"realign/internal/fault"
)

// addition is what additions of lanes take turns at: each numbers its lanes after those of the one before.
type addition struct{ owner, run string }

// turns is where the additions to one run wait, in the order in which they came.
type turns struct {
	taken chan struct{} // holds one while lanes are being added
	users int           // additions in progress and waiting; Hub.mu guards it
}

// errAdding refuses an addition whose turn has not come in time.
var errAdding = fault.New(fault.Busy, "other lanes are still being added to this run")

// takeTurn waits until no other lanes are being added to a run, for StartWait at most. On success the caller owes done.
func (h *Hub) takeTurn(ctx context.Context, key addition) (done func(), err error) {
	h.mu.Lock()
	t := h.adding[key]
	if t == nil {
		t = &turns{taken: make(chan struct{}, 1)}
		h.adding[key] = t
	}
	t.users++
	h.mu.Unlock()
	leave := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(h.adding, key)
		}
	}
	waiting, cancel := context.WithTimeout(ctx, h.config.StartWait)
	defer cancel()
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken; leave() }, nil
	case <-h.ctx.Done():
		err = errClosed
	case <-waiting.Done():
		err = errAdding
	}
	leave()
	return nil, err
}
