// Package manage is what whoever administers a server does with pairs on a page: it looks for models on the machine, adds a pair of
// what was found, checks and removes pairs, and fetches models. It takes names of models and never paths, so that whoever reaches
// the page cannot have any file of the machine opened.
package manage

import (
	"context"
	"slices"
	"sync"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/pair/fetch"
	"realign/internal/pair/modelstore"
)

// Config is what a Manager needs.
type Config struct {
	Library  *pair.Library             // must search Folder, too
	Folder   string                    // where pairs are added, and removed from
	Stores   func() []modelstore.Store // that are looked into
	Heads    *modelstore.Heads         // remembered heads of the stores' files
	Sums     *pair.Sums                // remembered sums of model files
	Hub      fetch.Hub                 // that hf: names are fetched from; its Progress is not used
	Registry fetch.Registry            // that ollama: names are fetched from; its Progress is not used

	Finder *pair.Finder // nil reads heads only

	// Removed is told of a pair that was taken away, so that its models are unloaded; nil is not.
	Removed func(name string)

	// Check loads the models of a pair and says in lines what it found; the error is that of the first fault.
	Check func(ctx context.Context, name string) (lines string, err error)
}

// Manager manages the pairs of one server. Its methods may be called from any goroutine. New makes it, Close ends
// it.
type Manager struct {
	config Config          // never changed
	ctx    context.Context // of fetches, which go on after the request that asked for them
	stop   context.CancelFunc
	wait   sync.WaitGroup // for the goroutines of fetches

	mu     sync.Mutex // guards pulls, what is in them, and closed
	pulls  []*pull    // the newest last
	closed bool       // no fetch begins any more
}

// New makes a manager.
func New(c Config) *Manager {
	m := &Manager{config: c}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// Close ends the fetches that run and waits for them. Later ones are Unavailable.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.stop()
	m.wait.Wait()
	return nil
}

// Found lists the models on this machine, and the pairs that they could be. The error is that of ctx.
func (m *Manager) Found(ctx context.Context) (modelstore.Listing, []modelstore.Proposal, error) {
	l, err := modelstore.Scan(ctx, m.config.Stores(), m.config.Heads)
	if err != nil {
		return l, nil, err
	}
	return l, modelstore.Propose(l.Models), nil
}

// Draft is a pair that somebody is about to add. Models are names of models that Found lists.
type Draft struct {
	Name, Title string // of the pair; the title may be ""
	Reference   string // the model at λ = 0

	// The aligned model: a model or an adapter, perhaps with an untuned one beside it; or a contrast.
	AlignedName string // what it is to be called; "" is "aligned"
	Aligned     string
	Untuned     string          // "" unless the aligned model is a proxy's tuned one
	Beta        float64         // KL strength of its training; 0 is unknown
	Scale       float64         // of an adapter: multiplies its strength; 0 is 1
	Contrast    decode.Contrast // the zero one is none; with it there is no other aligned model
}

// model finds one of the models on this machine by its name. The error is Invalid with the field: so also for a
// folder that is not
// GGUF.
func (m *Manager) model(l *modelstore.Listing, field, name string) (modelstore.Model, error) {
	i := slices.IndexFunc(l.Models, func(x modelstore.Model) bool { return x.Name == name })
	switch {
	case name == "":
		return modelstore.Model{}, fault.Field(field, "is missing")
	case i < 0:
		return modelstore.Model{}, fault.Field(field, "%.200q is none of the models that were found on this machine", name)
	case l.Models[i].Format != modelstore.GGUF:
		return modelstore.Model{}, fault.Field(field, "%.200q is a folder of %s, not GGUF", name, l.Models[i].Format)
	}
	return l.Models[i], nil
}

// pair makes a pair of a draft, without writing anything. The error is Invalid and names the field, or is that of
// ctx.
func (m *Manager) pair(ctx context.Context, d *Draft) (*pair.Pair, error) {
	if err := pair.CheckName("name", d.Name); err != nil {
		return nil, err
	}
	l, err := modelstore.Scan(ctx, m.config.Stores(), m.config.Heads)
	if err != nil {
		return nil, err
	}
	reference, err := m.model(&l, "reference", d.Reference)
	if err != nil {
		return nil, err
	}
	if reference.Adapter {
		return nil, fault.Field("reference", "%s is an adapter, not a whole model", d.Reference)
	}
	if d.Contrast != (decode.Contrast{}) {
		if d.Aligned != "" {
			return nil, fault.Field("aligned", "does not go with a second prompt for the reference: choose one of the two")
		}
		p := pair.NewContrast(d.Name, reference.Path, d.Contrast)
		p.Title = d.Title
		return p, d.Contrast.Validate("contrast")
	}
	aligned, err := m.model(&l, "aligned", d.Aligned)
	if err != nil {
		return nil, err
	}
	a := pair.Aligned{Name: d.AlignedName, Beta: d.Beta}
	if a.Name == "" {
		a.Name = "aligned"
	}
	switch {
	case aligned.Adapter:
		a.Adapter, a.Scale = aligned.Path, d.Scale
	case d.Scale != 0:
		return nil, fault.Field("scale", "is the strength of an adapter, and %s is a whole model: leave it empty", d.Aligned)
	default:
		a.File = aligned.Path
	}
	if d.Untuned != "" {
		untuned, err := m.model(&l, "untuned", d.Untuned)
		if err != nil {
			return nil, err
		}
		a.Untuned = untuned.Path
	}
	return &pair.Pair{
		Name: d.Name, Title: d.Title, Reference: pair.Reference{Name: pair.RoleReference, File: reference.Path},
		Aligned: []pair.Aligned{a}, Sampling: decode.DefaultSampling(),
	}, nil
}

// Findings tell in what the models of a draft differ and whether they fit, before the pair is added. The error is Invalid and names
// the field of the draft. It may also be that of the finder.
func (m *Manager) Findings(ctx context.Context, d *Draft) ([]pair.Found, error) {
	p, err := m.pair(ctx, d)
	if err != nil {
		return nil, err
	}
	return m.config.Finder.Find(ctx, p)
}

// Add adds a pair, with its files' sums, unless one of its findings is a fault: that is Invalid. A name that is
// taken is a Conflict.
func (m *Manager) Add(ctx context.Context, d *Draft) error {
	p, err := m.pair(ctx, d)
	if err != nil {
		return err
	}
	findings, err := m.config.Finder.Find(ctx, p)
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.Faulty() {
			return fault.Field("aligned", "%s: %s", f.Role, f.Text)
		}
	}
	for _, f := range p.Files() {
		sum, err := m.config.Sums.Model(ctx, f.Path)
		if err != nil {
			return err
		}
		p.SetSum(f, sum)
	}
	return m.config.Library.Register(m.config.Folder, p, false)
}

// Remove takes away a pair that was added here. The files of its models stay where they are. One that came with the
// program is a
// Conflict.
func (m *Manager) Remove(name string) error {
	if err := m.config.Library.Remove(m.config.Folder, name); err != nil {
		return err
	}
	if m.config.Removed != nil {
		m.config.Removed(name)
	}
	return nil
}

// Removable reports whether a pair was added here, and can be removed.
func (m *Manager) Removable(p *pair.Pair) bool { return p.In(m.config.Folder) }

// Check loads the models of a pair, in a process of their own, and says what it found.
func (m *Manager) Check(ctx context.Context, name string) (string, error) {
	if _, err := m.config.Library.Find(name); err != nil {
		return "", err
	}
	return m.config.Check(ctx, name)
}
