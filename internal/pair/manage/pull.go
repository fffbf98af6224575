package manage

import (
	"context"
	"regexp"
	"strings"

	"realign/internal/fault"
	"realign/internal/pair/fetch"
)

// Pull is a fetch of a model, as a page shows it.
type Pull struct {
	Name  string `json:"name"`            // as it was asked for
	State string `json:"state"`           // running, done, failed or stopped
	File  string `json:"file,omitempty"`  // that is being fetched; "" before the first
	Done  int64  `json:"done"`            // bytes
	Total int64  `json:"total"`           // bytes of all files; 0 before they are known
	Got   string `json:"got,omitempty"`   // the name under which the model is found
	Error string `json:"error,omitempty"` // why it failed
}

// pull is a fetch and what stops it. Its goroutine changes it under Manager.mu.
type pull struct {
	Pull
	stop context.CancelFunc // ends the fetch; it may be called again
}

// mostPulls is how many fetches may run at once; as many that have ended are remembered.
const mostPulls = 4

// ollamaName is what may be fetched of Ollama's registry from a page: a name without a host, so that nobody has the server ask another.
var ollamaName = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(:[\w.-]+)?$`)

// Pull begins to fetch hf:ORG/REPO[:FILE or QUANT], or ollama:[NAMESPACE/]NAME[:TAG]. What was fetched in part goes on where it was.
// The error is Invalid, Busy, a Conflict if it is being fetched, or Unavailable
// after Close; what goes wrong later is in Pulls.
func (m *Manager) Pull(name string) error {
	name = strings.TrimSpace(name)
	model, ollama := strings.CutPrefix(name, "ollama:")
	where, hub := strings.CutPrefix(name, "hf:")
	switch {
	case !ollama && !hub:
		return fault.Field("model", "%.80q is neither hf:ORG/REPO nor ollama:NAME", name)
	case ollama && !ollamaName.MatchString(model):
		return fault.Field("model", "%.80q is not ollama:NAME or ollama:NAMESPACE/NAME, with a tag or without", name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fault.New(fault.Unavailable, "the server is stopping")
	}
	running := 0
	for _, p := range m.pulls {
		if p.State != "running" {
			continue
		}
		if running++; p.Name == name {
			return fault.New(fault.Conflict, "%s is being fetched already", name)
		}
	}
	if running >= mostPulls {
		return fault.New(fault.Busy, "%d models are being fetched, the most at once", running)
	}
	m.forget(name)
	ctx, stop := context.WithCancel(m.ctx)
	p := &pull{Pull: Pull{Name: name, State: "running"}, stop: stop}
	m.pulls = append(m.pulls, p)
	m.wait.Go(func() {
		defer stop()
		progress := func(x fetch.Progress) {
			m.mu.Lock()
			defer m.mu.Unlock()
			p.File, p.Done, p.Total = x.File, x.Done, x.Total
		}
		var got string
		var err error
		if ollama {
			registry := m.config.Registry
			registry.Progress = progress
			got, err = registry.Pull(ctx, model)
		} else {
			hub := m.config.Hub
			hub.Progress = progress
			repository, want, _ := strings.Cut(where, ":")
			got, err = hub.Pull(ctx, repository, want)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		switch {
		case err == nil:
			p.State, p.Got = "done", got
		// Whatever it failed with, it was stopped.
		case ctx.Err() != nil:
			p.State = "stopped"
		default:
			p.State, p.Error = "failed", err.Error()
			if fault.KindOf(err) == fault.Internal {
				p.Error = "the model could not be fetched" // what the system says of folders is not for a page
			}
		}
	})
	return nil
}

// forget drops an earlier fetch of a model, and the oldest of those that have ended. The caller holds mu.
func (m *Manager) forget(name string) {
	ended := 0
	for i := len(m.pulls) - 1; i >= 0; i-- {
		if m.pulls[i].State == "running" {
			continue
		}
		if ended++; m.pulls[i].Name == name || ended >= mostPulls {
			m.pulls = append(m.pulls[:i], m.pulls[i+1:]...)
		}
	}
}

// StopPull ends a fetch. What has come stays, and the next fetch goes on from there.
// One that does not run is
// NotFound.
func (m *Manager) StopPull(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pulls {
		if p.Name == name && p.State == "running" {
			p.stop()
			return nil
		}
	}
	return fault.New(fault.NotFound, "%.80q is not being fetched", name)
}

// Pulls are the fetches that run, and those that ended last; the newest first.
func (m *Manager) Pulls() []Pull {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := []Pull{}
	for i := len(m.pulls) - 1; i >= 0; i-- {
		all = append(all, m.pulls[i].Pull)
	}
	return all
}
