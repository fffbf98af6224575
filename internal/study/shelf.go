package study

import (
	"context"

	"realign/internal/lru"
)

// shelfStudies is how many studies' items are kept in memory.
const shelfStudies = 16

// shelf keeps the items of the studies that are rated: they never change once a study is ready.
type shelf struct {
	store Plans
	kept  lru.Cache[[]Item] // by study
}

func newShelf(store Plans) *shelf {
	return &shelf{store: store, kept: lru.Cache[[]Item]{Most: shelfStudies}}
}

// items are a study's items; the caller changes none.
func (s *shelf) items(ctx context.Context, id string) ([]Item, error) {
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
