package worker

import (
	"context"
	"crypto/tls"
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

// Joining. A worker that is nobody's child sends a joinRequest before it loads anything, and again when it gets a heartbeat of a server
// that it does not know: a server of another protocol, or with other files under the pair's name, refuses it.
const (
	greetings   = "realign.hello"  // without a version: this is where versions are compared
	protocol    = 3                // of all messages below prefix
	maxWelcome  = 2 * time.Minute  // a server may have to read large files first
	moreWelcome = time.Second      // on a cluster with servers of several versions another one may be ours
	forgotten   = time.Minute      // since a server's last heartbeat
	joinRetry   = time.Second      // between attempts to connect
	firstWait   = 30 * time.Second // ServeConfig.Wait by default
)

// joinRequest is a worker that wants to join. It must be readable by programs of any age.
type joinRequest struct {
	Protocol int               `json:"protocol"` // the worker's
	Build    string            `json:"build"`    // of the worker's program
	Worker   string            `json:"worker"`   // its ID
	Host     string            `json:"host"`     // name of its machine
	Pair     string            `json:"pair"`     // that it serves
	Files    map[string]string `json:"files"`    // SHA-256 by role
}

// joinReply is a server's answer to it, which must be readable, too.
type joinReply struct {
	Pool     string       `json:"pool"`            // ID of the server's pool
	Protocol int          `json:"protocol"`        // the server's
	Build    string       `json:"build"`           // of the server's program
	Fault    *fault.Error `json:"fault,omitempty"` // why the worker may not join
}

func (h *joinRequest) check() error {
	if !token(h.Worker) || pair.CheckName("pair", h.Pair) != nil {
		return fmt.Errorf("hello without worker or pair")
	}
	return nil
}

func (w *joinReply) check() error { return nil }

// poolAddress is where NATS servers are and how they are known.
type poolAddress struct {
	full  string   // URLs, separated by commas, with credentials
	plain string   // the same without any, for people to read
	token string   // that is shown where a URL has no credentials; "" for none
	pins  []string // fingerprints of the servers' certificates; none trusts whom this machine trusts
}

// options are those of a connection there.
func (p *poolAddress) options() []nats.Option {
	var o []nats.Option
	if p.token != "" { // also for servers of a cluster that only the first one tells of
		o = append(o, nats.Token(p.token))
	}
	if len(p.pins) > 0 {
		o = append(o, nats.Secure(pinned(p.pins)))
	}
	return o
}

// children is the URL for our own processes, which have no other way to learn fingerprints.
func (p *poolAddress) children() string {
	if len(p.pins) == 0 {
		return p.full
	}
	var all []string
	for part := range strings.SplitSeq(p.full, ",") {
		if u, err := url.Parse(part); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok {
				u.User = url.UserPassword(u.User.Username(), password+pinMark+p.pins[0])
			} else {
				u.User = url.User(u.User.Username() + pinMark + p.pins[0])
			}
			part = u.String()
		}
		all = append(all, part)
	}
	return strings.Join(all, ",")
}

// address reads the URL of one NATS server or several, separated by commas, with a token for those that have no credentials
// of their own. Tokens and passwords may have a fingerprint.
func address(text, shown string) (poolAddress, error) {
	var at poolAddress
	var pin string
	at.token, pin = unpin(shown)
	add := func(pin string) {
		if pin != "" {
			at.pins = append(at.pins, pin)
		}
	}
	add(pin)
	var with, without []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part) // whose error would repeat what may be a secret
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return at, fault.Field("nats", "is not an address like nats://HOST:4222")
		}
		if u.User == nil && at.token != "" {
			u.User = url.User(at.token)
		} else if u.User != nil {
			name, pin := unpin(u.User.Username())
			add(pin)
			if password, ok := u.User.Password(); ok {
				password, pin = unpin(password)
				add(pin)
				u.User = url.UserPassword(name, password)
			} else {
				u.User = url.User(name)
			}
		}
		with, without = append(with, u.String()), append(without, u.Host)
	}
	at.full, at.plain = strings.Join(with, ","), strings.Join(without, ",")
	return at, nil
}

// reach is an error that says why a NATS server cannot be used.
func reach(err error, plain string) error {
	if errors.Is(err, nats.ErrAuthorization) {
		return fault.New(fault.Forbidden, "the NATS server at %s does not take the token", plain)
	}
	var unknown *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errPin):
		return fault.New(fault.Forbidden, "the NATS server at %s has another certificate than the one in the token: is it the server that made the token?", plain)
	case errors.As(err, &unknown):
		return fault.New(fault.Forbidden, "this machine does not trust the certificate of the NATS server at %s: show a token with its fingerprint, as the server keeps it in worker-token (%v)", plain, unknown.Err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fault.New(fault.Forbidden, "the NATS server at %s does not speak TLS, and the token is for one that does", plain)
	}
	return fault.Wrap(err, fault.Unavailable, "no NATS server answers at %s", plain)
}

// connect waits for a server that is not there yet, for as long as the configuration says; a child does not wait.
func (s *service) connect(ctx context.Context, at *poolAddress, options []nats.Option) (err error) {
	options = append(options, at.options()...)
	began, told := time.Now(), false
	for {
		if s.conn, err = nats.Connect(at.full, options...); err == nil {
			return nil
		}
		err = reach(err, at.plain)
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

// join sends a joinRequest and waits for the answer of one server, or, for "", of any. The error is a refusal, or ctx's; nobody there,
// or nobody in time, is none: who comes later is asked then.
func (s *service) join(ctx context.Context, pool string) error {
	h := joinRequest{Protocol: protocol, Build: s.config.Build, Worker: s.config.ID, Host: s.beat.Host, Pair: s.config.Pair}
	if s.config.Files != nil {
		var err error
		if h.Files, err = s.config.Files(ctx, s.config.Pair); err != nil {
			return err
		}
	}
	answers := s.conn.NewInbox()
	sub, err := s.conn.SubscribeSync(answers)
	if err == nil {
		defer sub.Unsubscribe()
		err = s.conn.PublishRequest(greetings, answers, encoded(h))
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the NATS server cannot be asked")
	}
	// Every pool answers. The first with our protocol is joined; one with another is an error only if none follows soon.
	waiting, cancel := context.WithTimeout(ctx, maxWelcome)
	defer cancel()
	var other *fault.Error
	for {
		m, err := sub.NextMsgWithContext(waiting)
		var w joinReply
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

// meet notes a heartbeat of a server and reports whether the server is a new one.
func (s *service) meet(pool string) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.servers, func(_ string, heard time.Time) bool { return now.Sub(heard) > forgotten })
	_, known := s.servers[pool]
	s.servers[pool] = now
	return !known
}

// rejoin sends a joinRequest again, to a server that has come or, for "", to any, and leaves if it is refused.
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

// otherProtocol is the error of a worker and a server whose messages differ.
func otherProtocol(worker int, workerBuild string, server int, serverBuild string) *fault.Error {
	return fault.New(fault.Conflict, "the worker is realign %s (protocol %d) and the server realign %s (protocol %d): run the same version", workerBuild, worker, serverBuild, server)
}

// onJoin answers a worker that wants to join.
func (p *Pool) onJoin(m *nats.Msg) {
	var h joinRequest
	if err := read(m.Data, &h); err != nil {
		p.log.Warn("bad hello", "error", err)
		return
	}
	// A pool could name any subject in its reply: a worker must not choose another place than its own inbox.
	if !strings.HasPrefix(m.Reply, inbox(workerInbox, h.Worker)+".") && !strings.HasPrefix(m.Reply, oldInbox) {
		p.log.Warn("hello with the address of somebody else", "worker", h.Worker)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.wait.Go(func() {
		w := joinReply{Pool: p.id, Protocol: protocol, Build: p.config.Build, Fault: p.refuse(&h)}
		if w.Fault != nil {
			p.log.Warn("a worker was refused", "pair", h.Pair, "worker", h.Worker, "host", h.Host, "why", w.Fault.Message)
		}
		if err := m.Respond(encoded(w)); err != nil && p.ctx.Err() == nil {
			p.log.Warn("answer hello", "error", err)
		}
	})
}

// refuse is why a worker may not join, or nil. One of a pair that is not here decodes for others.
func (p *Pool) refuse(h *joinRequest) *fault.Error {
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
