// Package cluster makes one of several servers that share a database and a NATS cluster: each has a name of its own and says
// every few seconds that it is alive, ends what dead ones left, and tells the others what it saves. It knows neither SQL nor
// HTTP.
package cluster

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Store keeps which servers there are. Its methods fail while the store is out of reach.
type Store interface {
	// Alone reports whether no other server can use the store.
	Alone() bool

	// JoinServers adds a server.
	JoinServers(ctx context.Context, name string) error
	// RenewServer notes that a server is alive, and is false for one that was removed as dead.
	RenewServer(ctx context.Context, name string) (bool, error)
	// LeaveServers removes a server that ends; the others take over what it left at once.
	LeaveServers(ctx context.Context, name string) error

	// RemoveDead removes servers that were silent for longer, and says how many.
	RemoveDead(ctx context.Context, silent time.Duration) (int, error)
	// Orphans are the names of removed servers whose work nobody has taken.
	Orphans(ctx context.Context) ([]string, error)
}

// Heir takes what servers leave. Its methods are called from one goroutine, one after another.
type Heir interface {
	// Inherit ends or goes on with what a dead server left.
	Inherit(ctx context.Context, dead string) error

	// Tidy ends what this server began and does not hold, and lets go of what is another's by now.
	Tidy(ctx context.Context) error

	// Lost lets go of everything: the others took this server for dead.
	Lost()
}

// Config is what a Member is made of. Zero durations stand for the defaults.
type Config struct {
	Store Store
	Label string       // what the names of this server begin with; "" is "server"
	Log   *slog.Logger // nil is slog.Default

	Every  time.Duration // between two signs of life; 3 s
	Silent time.Duration // after which a server is dead; 12 s
}

// Member is this server among those that share the store. Join makes it; Start, Rest and Close are called by one
// goroutine, Name by any.
type Member struct {
	config Config
	heirs  []Heir             // set by Start
	cancel context.CancelFunc // ends the signs of life; does nothing before Start
	loop   sync.WaitGroup     // of the goroutine of live

	mu   sync.Mutex // guards name
	name string
}

// Join adds this server, under a name that nobody else has.
func Join(ctx context.Context, c Config) (*Member, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Every == 0 {
		c.Every = 3 * time.Second
	}
	if c.Silent == 0 {
		c.Silent = 12 * time.Second
	}
	m := &Member{config: c, cancel: func() {}}
	m.rename()
	return m, c.Store.JoinServers(ctx, m.Name())
}

// Name is what this server is called now. It changes when others took it for dead, so that what they end under the old name is
// nothing that it has begun since.
func (m *Member) Name() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.name
}

// rename takes a new name, which nobody has had: the label and 50 random bits.
func (m *Member) rename() {
	label := m.config.Label
	if label == "" {
		label = "server"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.name = label + "-" + strings.ToLower(rand.Text()[:10])
}

// Start takes over what dead servers left, once before it returns, and then goes on saying that this one is alive until Close.
// An error says that the store does not answer.
func (m *Member) Start(ctx context.Context, heirs ...Heir) error {
	m.heirs = heirs
	if m.config.Store.Alone() {
		if err := m.inherit(ctx); err != nil {
			return err
		}
	}
	running, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.loop.Go(func() { m.live(running) })
	return nil
}

// Rest ends the signs of life. The others take this server for dead after a while, so Close must follow.
func (m *Member) Rest() {
	m.cancel()
	m.loop.Wait()
}

// Close ends the signs of life and, at once, whatever keeps what is left from the other servers. It is safe to call twice.
func (m *Member) Close() error {
	m.Rest()
	ctx, cancel := context.WithTimeout(context.Background(), m.config.Every)
	defer cancel()
	if err := m.config.Store.LeaveServers(ctx, m.Name()); err != nil {
		m.config.Log.Warn("the other servers will notice that this one has left only after a while", "error", err)
	}
	return nil
}

// live says that this server is alive, and looks after the others.
func (m *Member) live(ctx context.Context) {
	tick := time.NewTicker(m.config.Every)
	defer tick.Stop()
	steady := time.Now() // since when every sign of life was taken
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		if err := m.renew(ctx); err != nil {
			if ctx.Err() == nil {
				m.config.Log.Warn("the other servers cannot be told that this one is alive", "error", err)
			}
			steady = time.Now()
			continue
		}
		if took := time.Since(began); took > m.config.Every {
			steady = time.Now()
		}
		// While the store was out of reach nobody could say that it is alive: all are given the time to do so first.
		if time.Since(steady) < m.config.Silent && !m.config.Store.Alone() {
			continue
		}
		if err := m.inherit(ctx); err != nil && ctx.Err() == nil {
			m.config.Log.Warn("what dead servers left is not taken over yet", "error", err)
		}
	}
}

// renew says that this server is alive. Where it was taken for dead it lets go of everything and joins anew.
func (m *Member) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.config.Silent/2)
	defer cancel()
	there, err := m.config.Store.RenewServer(ctx, m.Name())
	if err != nil {
		return err
	}
	if !there {
		m.config.Log.Error("the other servers took this one for dead: what it was decoding ends", "name", m.Name())
		m.rename()
		if err := m.config.Store.JoinServers(ctx, m.Name()); err != nil {
			return err
		}
		for _, h := range m.heirs {
			h.Lost()
		}
	}
	for _, h := range m.heirs {
		if err := h.Tidy(ctx); err != nil {
			m.config.Log.Warn("what this server lost hold of is not ended yet", "error", err)
		}
	}
	return nil
}

// inherit takes over what dead servers left.
func (m *Member) inherit(ctx context.Context) error {
	n, err := m.config.Store.RemoveDead(ctx, m.config.Silent)
	if err != nil {
		return err
	}
	if n > 0 {
		m.config.Log.Info("servers have died", "servers", n)
	}
	dead, err := m.config.Store.Orphans(ctx)
	if err != nil {
		return err
	}
	for _, name := range dead {
		for _, h := range m.heirs {
			if err := h.Inherit(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}
