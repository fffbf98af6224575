package store

import (
	"sync"

	"realign/internal/sweep"
)

// setups remembers the setups of sweeps that were read lately: they never change, and one with thousands of prompts takes
// longer to parse than the page that shows some of it takes to make. Who gets one must not change it.
type setups struct {
	mu   sync.Mutex // guards byID
	byID map[string]sweep.Setup
}

const mostSetups = 8

func (s *setups) get(id string) (sweep.Setup, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	setup, ok := s.byID[id]
	return setup, ok
}

func (s *setups) put(id string, setup sweep.Setup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = map[string]sweep.Setup{}
	}
	for other := range s.byID {
		if len(s.byID) < mostSetups {
			break
		}
		delete(s.byID, other) // any: those in use come back
	}
	s.byID[id] = setup
}
