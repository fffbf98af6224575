package web

import (
	"context"
	"sync"

	"realign/internal/fault"
)

// laneKey names a lane of a run.
type laneKey struct {
	run  string
	lane int
}

// steering is the λ that a client has asked for and that runs have not taken yet: of each lane the last one, so that a dragged
// slider costs a run no more moves than it can take, and holds up nothing else on the socket.
type steering struct {
	mu     sync.Mutex               // guards wanted
	wanted map[laneKey]*clientFrame // of lanes that are being moved: what comes next, or nil
}

// move moves λ of a lane beside the reader. While an earlier move of the lane is under way, the last of those that follow waits for
// it, and the others are passed over.
func (k *socket) move(f clientFrame) error {
	if f.Lane == nil {
		return fault.Field("lane", "is missing")
	}
	if len(f.Run) > maxRunBytes {
		return fault.New(fault.NotFound, "there is no such run")
	}
	key := laneKey{f.Run, *f.Lane}
	s := &k.steering
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, moving := s.wanted[key]; moving {
		s.wanted[key] = &f
		return nil
	}
	if len(s.wanted) >= maxMoves {
		return fault.New(fault.Busy, "λ of %d lanes of this socket is being moved already", maxMoves)
	}
	s.wanted[key] = nil
	k.tasks.Go(func() {
		for next := &f; next != nil; next = s.next(key) {
			err := k.moves.Wait(k.ctx)
			if err == nil {
				err = k.server.hub.SetLambda(k.ctx, k.owner, key.run, key.lane, next.Lambda)
			}
			if err != nil {
				k.refuse(*next, err)
			}
		}
	})
	return nil
}

// next is the move of a lane that waits, or nil: then the lane is no longer being moved.
func (s *steering) next(key laneKey) *clientFrame {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.wanted[key]
	if f == nil {
		delete(s.wanted, key)
	} else {
		s.wanted[key] = nil
	}
	return f
}

// forget passes over the moves of a run that wait, of one lane or, for -1, of all.
func (s *steering) forget(run string, lane int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.wanted {
		if key.run == run && (lane < 0 || key.lane == lane) {
			s.wanted[key] = nil
		}
	}
}

// halt stops a lane, or for a frame without one the whole run. It waits for no move of λ.
func (k *socket) halt(ctx context.Context, f clientFrame) error {
	lane := -1
	if f.Lane != nil {
		if lane = *f.Lane; lane < 0 {
			return fault.Field("lane", "%d is negative", lane)
		}
	}
	k.steering.forget(f.Run, lane)
	return k.server.hub.Stop(ctx, k.owner, f.Run, lane)
}
