package worker

import (
	"time"

	"github.com/nats-io/nats.go"

	"realign/internal/decode"
	"realign/internal/fault"
)

// A NATS server that dies loses what it had not passed on, and nobody can tell what that was. So when a connection is restored,
// the runs that it was about end with an error that says so: a run whose last events were lost would never end.

// interrupted is the error of a run whose events a NATS server may have lost.
const interrupted = "the NATS server was lost while this was being decoded"

// restored ends the runs that were under way when the connection was lost.
func (p *Pool) restored(*nats.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.runs {
		r.fail(fault.New(fault.Unavailable, interrupted))
	}
	if len(p.runs) > 0 {
		p.log.Warn("the NATS server is back: the runs that were decoded meanwhile end", "runs", len(p.runs))
	}
}

// told is the runs that a worker sends, or has sent lately, the events of, by their subjects. The service's mutex guards it.
type told map[string]time.Time // the end; zero while the run goes on

// remembered is how long after its end a run may be waiting for events that were lost.
const remembered = time.Minute

// begin notes that events of a run are sent on a subject.
func (t told) begin(subject string) { t[subject] = time.Time{} }

// end notes that all are sent. The subject is forgotten some time later.
func (t told) end(subject string) {
	now := time.Now()
	t[subject] = now
	for other, at := range t {
		if !at.IsZero() && now.Sub(at) > remembered {
			delete(t, other)
		}
	}
}

// interrupted tells pools, after the connection was lost, that events may be missing, and stops what is under way. A pool that
// has had all events of a run does not listen.
func (s *service) interrupted() {
	s.mu.Lock()
	var subjects []string
	for subject := range s.told {
		subjects = append(subjects, subject)
	}
	var jobs []*decode.Job
	for _, r := range s.runs {
		if r.job != nil {
			jobs = append(jobs, r.job)
		}
	}
	s.mu.Unlock()
	for _, subject := range subjects {
		if err := refuse(func(data []byte) error { return s.conn.Publish(subject, data) }, fault.New(fault.Unavailable, interrupted)); err != nil {
			s.log.Warn("tell of a run that was interrupted", "error", err)
		}
	}
	for _, j := range jobs {
		_ = j.Stop(-1) // stopping what has ended does nothing
	}
}
