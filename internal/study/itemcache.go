package study

import (
	"context"

	"realign/internal/lru"
)

// cachedStudies is how many studies' items are kept in memory.
const cachedStudies = 16

// itemCache keeps the items of the studies that are rated: they never change once a study is ready.
// A Service has one. It may be used by many goroutines.
type itemCache struct {
	store Plans
	kept  lru.Cache[[]Item] // by study
}

// newItemCache is empty; items are read when a study is first asked about.
func newItemCache(store Plans) *itemCache {
	return &itemCache{store: store, kept: lru.Cache[[]Item]{Most: cachedStudies}}
}

// of are a study's items; the caller changes none.
func (s *itemCache) of(ctx context.Context, id string) ([]Item, error) {
	if items, ok := s.kept.Get(id); ok {
		return items, nil
	}
	counted, err := s.store.StudyItems(ctx, id)
	if err != nil {
		return nil, err
	}
	items := make([]Item, len(counted))
	for i := range counted {
		items[i] = counted[i].Item
	}
	s.kept.Put(id, items)
	return items, nil
}
