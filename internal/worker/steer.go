package worker

import (
	"sync"

	"github.com/nats-io/nats.go"

	"realign/internal/decode"
	"realign/internal/fault"
)

// steering is what is asked of one run and not done yet. The engine does what is asked between two tokens, so each run has a
// goroutine of its own that waits for that, and another one for its stops: controls of one run do not wait for another's,
// and a stop waits for no move of λ. The service's mutex guards it.
type steering struct {
	stopped bool // all lanes, perhaps before the engine had admitted the run

	moves  map[int]*move       // by lane
	moving bool                // a goroutine does them
	stops  map[int][]*nats.Msg // by lane, −1 for all: who asked
	ending bool                // a goroutine does them
}

// move is where λ of a lane is to go: the last of those asked for meanwhile, which all get its answer.
type move struct {
	to    decode.Vector // λ
	asked []*nats.Msg   // who waits for the answer
}

// onControl takes a control and leaves it to a goroutine of its run.
func (s *service) onControl(m *nats.Msg) {
	var c control
	if err := read(m.Data, &c); err != nil {
		s.log.Warn("bad control", "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.runs[c.Run]
	if r != nil && c.Lambda == nil && c.Lane < 0 {
		r.steer.stopped = true
	}
	if r == nil || r.job == nil || s.beat.Leaving {
		s.answerControls(fault.New(fault.Conflict, "the run has ended"), m)
		return
	}
	if c.Lambda != nil {
		r.steer.move(c, m)
		if !r.steer.moving {
			r.steer.moving = true
			s.wait.Go(func() { s.move(r) })
		}
		return
	}
	r.steer.stop(c.Lane, m)
	if !r.steer.ending {
		r.steer.ending = true
		s.wait.Go(func() { s.end(r) })
	}
}

// move notes where a lane's λ is to go; service.mu is held, as for stop.
func (x *steering) move(c control, m *nats.Msg) {
	if x.moves == nil {
		x.moves = map[int]*move{}
	}
	if x.moves[c.Lane] == nil {
		x.moves[c.Lane] = &move{}
	}
	x.moves[c.Lane].to = c.Lambda
	x.moves[c.Lane].asked = append(x.moves[c.Lane].asked, m)
}

// stop notes that a lane is to end.
func (x *steering) stop(lane int, m *nats.Msg) {
	if x.stops == nil {
		x.stops = map[int][]*nats.Msg{}
	}
	x.stops[lane] = append(x.stops[lane], m)
}

// move moves λ of a run's lanes until nothing is asked for.
func (s *service) move(r *job) {
	for {
		s.mu.Lock()
		moves := r.steer.moves
		r.steer.moves, r.steer.moving = nil, len(moves) > 0
		s.mu.Unlock()
		if len(moves) == 0 {
			return
		}
		var all sync.WaitGroup // the engine moves all of them between the same two tokens
		for lane, m := range moves {
			all.Go(func() { s.answerControls(r.job.SetLambda(lane, m.to), m.asked...) })
		}
		all.Wait()
	}
}

// end stops lanes of a run until nothing is asked for.
func (s *service) end(r *job) {
	for {
		s.mu.Lock()
		stops := r.steer.stops
		r.steer.stops, r.steer.ending = nil, len(stops) > 0
		s.mu.Unlock()
		if len(stops) == 0 {
			return
		}
		for lane, asked := range stops {
			s.answerControls(r.job.Stop(lane), asked...)
		}
	}
}

// answerControls answers those who wait for an answer.
func (s *service) answerControls(err error, asked ...*nats.Msg) {
	for _, m := range asked {
		if m.Reply == "" {
			continue
		}
		if err := m.Respond(encoded(reply{Fault: fault.Of(err)})); err != nil {
			s.log.Warn("answer control", "error", err)
		}
	}
}
