package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"realign/internal/fault"
	"realign/internal/pair"
)

// Joining. A worker that is nobody's child says who it is before it loads anything, and again when it hears a server
// that it does not know: a server of another protocol, or with other files under the pair's name, refuses it.
const (
	greetings   = "realign.hello" // without a version: this is where versions are compared
	protocol    = 1               // of all messages below prefix
	maxWelcome  = 2 * time.Minute // a server may have to read large files first
	moreWelcome = time.Second     // on a cluster with servers of several versions another one may be ours
	forgotten   = time.Minute     // since a server was heard
	joinRetry   = time.Second
	firstWait   = 30 * time.Second
)

// hello is a worker that wants to join. It must be readable by programs of any age.
type hello struct {
	Protocol int               `json:"protocol"`
	Build    string            `json:"build"`
	Worker   string            `json:"worker"`
	Host     string            `json:"host"`
	Pair     string            `json:"pair"`
	Files    map[string]string `json:"files"` // SHA-256 by role
}

// welcome is a server's answer to it, which must be readable, too.
type welcome struct {
	Pool     string       `json:"pool"`
	Protocol int          `json:"protocol"`
	Build    string       `json:"build"`
	Fault    *fault.Error `json:"fault,omitempty"` // why the worker may not join
}

func (h *hello) check() error {
	if !token(h.Worker) || pair.CheckName("pair", h.Pair) != nil {
		return fmt.Errorf("hello without worker or pair")
	}
	return nil
}

func (w *welcome) check() error { return nil }

// address is the URL of one NATS server or several, separated by commas, with a token for those that have no credentials
// of their own, and the same without any, for people to read.
func address(text, token string) (full, plain string, err error) {
	var with, without []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part) // whose error would repeat what may be a secret
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return "", "", fault.Field("nats", "is not an address like nats://HOST:4222")
		}
		if u.User == nil && token != "" {
			u.User = url.User(token)
		}
		with, without = append(with, u.String()), append(without, u.Host)
	}
	return strings.Join(with, ","), strings.Join(without, ","), nil
}

// reach says in words why a NATS server cannot be used.
func reach(err error, plain string) error {
	if errors.Is(err, nats.ErrAuthorization) {
		return fault.New(fault.Forbidden, "the NATS server at %s does not take the token", plain)
	}
	return fault.Wrap(err, fault.Unavailable, "no NATS server answers at %s", plain)
}

// connect waits for a server that is not there yet, for as long as the configuration says; a child does not wait.
func (s *service) connect(ctx context.Context, full, plain string, options []nats.Option) (err error) {
	began, told := time.Now(), false
	for {
		if s.conn, err = nats.Connect(full, options...); err == nil {
			return nil
		}
		err = reach(err, plain)
		if s.config.Parent != nil || fault.KindOf(err) != fault.Unavailable || time.Since(began) > s.config.Wait {
			return err
		}
		if !told {
			s.log.Warn("waiting for the NATS server", "why", err, "at most", s.config.Wait)
			told = true
		}
		select {
		case <-time.After(joinRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// join says hello and waits for the answer of one server, or, for "", of any. The error is a refusal, or ctx's; nobody there,
// or nobody in time, is none: who comes later is asked then.
func (s *service) join(ctx context.Context, pool string) error {
	h := hello{Protocol: protocol, Build: s.config.Build, Worker: s.config.ID, Host: s.beat.Host, Pair: s.config.Pair}
	if s.config.Files != nil {
		var err error
		if h.Files, err = s.config.Files(ctx, s.config.Pair); err != nil {
			return err
		}
	}
	inbox := nats.NewInbox()
	sub, err := s.conn.SubscribeSync(inbox)
	if err == nil {
		defer sub.Unsubscribe()
		err = s.conn.PublishRequest(greetings, inbox, encoded(h))
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the NATS server cannot be asked")
	}
	waiting, cancel := context.WithTimeout(ctx, maxWelcome)
	defer cancel()
	var other *fault.Error
	for {
		m, err := sub.NextMsgWithContext(waiting)
		var w welcome
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil && other != nil:
			return other
		case err != nil:
			s.log.Info("no server answers yet", "why", err)
			return nil
		}
		if err := read(m.Data, &w); err != nil {
			s.log.Warn("bad welcome", "error", err)
			continue
		}
		switch {
		case w.Protocol != protocol:
			if other == nil {
				other = otherProtocol(protocol, s.config.Build, w.Protocol, w.Build)
				soon, cancel := context.WithTimeout(waiting, moreWelcome)
				defer cancel()
				waiting = soon
			}
		case pool != "" && w.Pool != pool:
		case w.Fault != nil:
			return w.Fault
		default:
			if w.Build != s.config.Build {
				s.log.Warn("the server is of another build: last digits may differ", "server", w.Build, "worker", s.config.Build)
			}
			s.meet(w.Pool)
			return nil
		}
	}
}

// meet notes that a server was heard and reports whether it is a new one.
func (s *service) meet(pool string) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.servers, func(_ string, heard time.Time) bool { return now.Sub(heard) > forgotten })
	_, known := s.servers[pool]
	s.servers[pool] = now
	return !known
}

// rejoin says hello again, to a server that has come or, for "", to any, and leaves if it is refused.
func (s *service) rejoin(pool string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beat.Leaving {
		return
	}
	s.wait.Go(func() {
		if err := s.join(s.leaving, pool); err != nil {
			s.leave(err)
		}
	})
}

func otherProtocol(worker int, workerBuild string, server int, serverBuild string) *fault.Error {
	return fault.New(fault.Conflict, "the worker is realign %s (protocol %d) and the server realign %s (protocol %d): run the same version", workerBuild, worker, serverBuild, server)
}

// greet answers a worker that wants to join.
func (p *Pool) greet(m *nats.Msg) {
	var h hello
	if err := read(m.Data, &h); err != nil {
		p.log.Warn("bad hello", "error", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.wait.Go(func() {
		w := welcome{Pool: p.id, Protocol: protocol, Build: p.config.Build, Fault: p.refuse(&h)}
		if w.Fault != nil {
			p.log.Warn("a worker was refused", "pair", h.Pair, "worker", h.Worker, "host", h.Host, "why", w.Fault.Message)
		}
		if err := m.Respond(encoded(w)); err != nil && p.ctx.Err() == nil {
			p.log.Warn("answer hello", "error", err)
		}
	})
}

// refuse is why a worker may not join, or nil. One of a pair that is not here decodes for others.
func (p *Pool) refuse(h *hello) *fault.Error {
	if h.Protocol != protocol {
		return otherProtocol(h.Protocol, h.Build, protocol, p.config.Build)
	}
	if p.config.Files == nil || h.Files == nil {
		return nil
	}
	files, err := p.config.Files(p.ctx, h.Pair)
	if err != nil {
		p.log.Info("the files of a worker cannot be compared", "pair", h.Pair, "why", err)
		return nil
	}
	for _, role := range slices.Sorted(maps.Keys(files)) {
		switch theirs, ok := h.Files[role]; {
		case !ok:
			return fault.New(fault.Conflict, "the worker's pair %s has no model %s, and the server's has", h.Pair, role)
		case theirs != files[role]:
			return fault.New(fault.Conflict, "the worker's pair %s has another file of %s than the server's: copy the folder of the pair", h.Pair, role)
		}
	}
	return nil
}
