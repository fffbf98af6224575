package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"realign/internal/fault"
	"realign/internal/run"
)

// Subjects of what servers tell each other. The version changes when a message does.
const (
	prefix    = "realign.v2.server."
	stopsOn   = prefix + "stop"
	askWait   = 30 * time.Second       // for lanes to be added, which may wait for a pair to load
	steerWait = 5 * time.Second        // for any other answer
	flushWait = 500 * time.Millisecond // for the NATS server to know what is followed
)

// eventsOf, controlOf and jobOf are the subjects of a run's events, of controls of a run, and of a job's being
// stopped.
func eventsOf(run string) string  { return prefix + "events." + run }
func controlOf(run string) string { return prefix + "control." + run }
func jobOf(job string) string     { return prefix + "job." + job }

// Peers tells the other servers on a NATS cluster what this one saves, and asks them. It implements run.Peers. Nothing that
// it tells is needed for what is stored to be right, so whatever NATS loses is only seen later.
type Peers struct {
	conn *nats.Conn // not closed here
	log  *slog.Logger
	most int // bytes of a message, less room for its frame
}

// NewPeers speaks over a connection, which stays its owner's.
func NewPeers(conn *nats.Conn, log *slog.Logger) *Peers {
	return &Peers{conn: conn, log: log, most: int(conn.MaxPayload()) - 4096}
}

var _ run.Peers = (*Peers)(nil)

// saved are events of a run, or only the number of the last one where they are too large for a message.
type saved struct {
	Seq    int         `json:"seq"` // of the last event
	Events []run.Event `json:"events,omitempty"`
}

// Publish implements run.Peers.
func (p *Peers) Publish(runID string, events []run.Event) {
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) && (n == 0 || size+len(events[n].Event)+128 < p.most) {
			size += len(events[n].Event) + 128
			n++
		}
		m := saved{Seq: events[n-1].Seq, Events: events[:n]}
		if size >= p.most {
			m.Events = nil
		}
		p.publish(eventsOf(runID), m)
		events = events[n:]
	}
}

// publish tells all who follow a subject. What cannot be sent is logged and lost.
func (p *Peers) publish(subject string, m any) {
	data, err := json.Marshal(m)
	if err == nil {
		err = p.conn.Publish(subject, data)
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		p.log.Warn("the other servers are not told", "subject", subject, "error", err)
	}
}

// Follow implements run.Peers.
func (p *Peers) Follow(runID string, f func([]run.Event)) (stop func()) {
	return p.subscribe(eventsOf(runID), func(m *nats.Msg) {
		var told saved
		if json.Unmarshal(m.Data, &told) != nil {
			return
		}
		if len(told.Events) == 0 {
			told.Events = []run.Event{{Run: runID, Seq: told.Seq}}
		}
		f(told.Events)
	})
}

// subscribe has messages handled one at a time. Without a connection that can be restored it does nothing.
func (p *Peers) subscribe(subject string, handle nats.MsgHandler) (stop func()) {
	s, err := p.conn.Subscribe(subject, handle)
	if err != nil {
		if !errors.Is(err, nats.ErrConnectionClosed) {
			p.log.Warn("the other servers are not heard", "subject", subject, "error", err)
		}
		return func() {}
	}
	return func() { _ = s.Unsubscribe() } // fails on a connection that is closed already
}

// Flush implements run.Peers.
func (p *Peers) Flush(ctx context.Context) {
	if p.conn.IsConnected() {
		ctx, cancel := context.WithTimeout(ctx, flushWait)
		defer cancel()
		_ = p.conn.FlushWithContext(ctx) // whatever is missed is found in the log
	}
}

// answer is what a server says to a control.
type answer struct {
	Lanes []int        `json:"lanes,omitempty"` // numbers of the lanes that a control added
	Fault *fault.Error `json:"fault,omitempty"`
}

// Serve implements run.Peers. Controls do not wait for each other: one that adds lanes may take long.
func (p *Peers) Serve(runID string, f func(context.Context, run.Control) ([]int, error)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	unsubscribe := p.subscribe(controlOf(runID), func(m *nats.Msg) {
		var c run.Control
		if json.Unmarshal(m.Data, &c) != nil {
			return
		}
		answered := func() {
			asked, done := context.WithTimeout(ctx, askWait)
			defer done()
			lanes, err := f(asked, c)
			p.reply(m, answer{Lanes: lanes, Fault: fault.Of(err)})
		}
		go answered()
	})
	return func() {
		unsubscribe()
		time.AfterFunc(askWait, cancel) // what was asked before is answered
	}
}

// reply answers a message; who asked may have given up.
func (p *Peers) reply(m *nats.Msg, a answer) {
	data, err := json.Marshal(a)
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		p.log.Warn("another server gets no answer", "subject", m.Subject, "error", err)
	}
}

// Ask implements run.Peers.
func (p *Peers) Ask(ctx context.Context, runID string, c run.Control) ([]int, error) {
	wait := steerWait
	if len(c.Lanes) > 0 {
		wait = askWait
	}
	a, err := p.ask(ctx, controlOf(runID), c, wait)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the server that decodes this run does not answer: if it has died, the others end the run within %d seconds", int(run.EndWithin.Seconds()))
	}
	if a.Fault != nil {
		return nil, a.Fault
	}
	return a.Lanes, nil
}

// ask sends a question to the one server that answers a subject, and waits for its answer at most that long.
func (p *Peers) ask(ctx context.Context, subject string, question any, wait time.Duration) (a answer, err error) {
	data, err := json.Marshal(question)
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m, err := p.conn.RequestWithContext(ctx, subject, data)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(m.Data, &a)
}

// stopAll asks for the runs of an owner, or of a session of theirs, to be stopped.
type stopAll struct {
	Owner   string `json:"owner"`
	Session string `json:"session,omitempty"` // "" is all of the owner's
}

// StopAll implements run.Peers.
func (p *Peers) StopAll(owner, of string) { p.publish(stopsOn, stopAll{owner, of}) }

// OnStopAll implements run.Peers.
func (p *Peers) OnStopAll(f func(owner, of string)) (stop func()) {
	return p.subscribe(stopsOn, func(m *nats.Msg) {
		var s stopAll
		if json.Unmarshal(m.Data, &s) == nil && s.Owner != "" {
			f(s.Owner, s.Session)
		}
	})
}

// Hold answers other servers that want a job of theirs or ours to stop here: a study or a sweep that is decoded. It implements
// experiment.Elsewhere.
func (p *Peers) Hold(job string, stop func()) (release func()) {
	return p.subscribe(jobOf(job), func(m *nats.Msg) {
		go func() { // a job takes a while to stop, and may be let go of meanwhile
			stop()
			p.reply(m, answer{})
		}()
	})
}

// StopElsewhere has the server that a job runs on stop it, if there is one, and waits until it has. It is Unavailable where
// that server does not answer within askWait.
func (p *Peers) StopElsewhere(ctx context.Context, job string) error {
	_, err := p.ask(ctx, jobOf(job), struct{}{}, askWait)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the server that this runs on does not answer")
	}
	return nil
}
