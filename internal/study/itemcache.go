package study

import (
	"context"
	"sync"
)

// cachedStudies is how many studies' items are kept in memory.
const cachedStudies = 16

// itemCache keeps the items of the studies that are rated: they never change once a study is ready.
type itemCache struct {
	store Plans

	mu    sync.Mutex // guards what follows
	kept  map[string][]Item
	order []string // the studies, those read first in front
}

func newItemCache(store Plans) *itemCache { return &itemCache{store: store, kept: map[string][]Item{}} }

// of are a study's items; the caller changes none.
func (s *itemCache) of(ctx context.Context, id string) ([]Item, error) {
	s.mu.Lock()
	items, ok := s.kept[id]
	s.mu.Unlock()
	if ok {
		return items, nil
	}
	counted, err := s.store.StudyItems(ctx, id)
	if err != nil {
		return nil, err
	}
	items = make([]Item, len(counted))
	for i := range counted {
		items[i] = counted[i].Item
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.kept[id]; !ok {
		s.order = append(s.order, id)
	}
	s.kept[id] = items
	if len(s.order) > cachedStudies {
		delete(s.kept, s.order[0])
		s.order = s.order[1:]
	}
	return items, nil
}
