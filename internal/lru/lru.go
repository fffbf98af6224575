// Package lru keeps values by their keys: those that were used last, as far as there is room. It knows nothing of times, and
// makes no value itself.
package lru

import (
	"container/list"
	"sync"
)

// Cache is such values. The zero Cache with Most set is an empty one. It may be used from any goroutine; it must not be copied.
type Cache[V any] struct {
	Most int         // room, in the unit of Size; 0 is 32
	Size func(V) int // that a value takes of it and that never changes; nil: each takes 1

	mu    sync.Mutex // guards what follows
	kept  map[string]*list.Element
	order list.List // of entries, the last used first
	size  int       // of all of them, in the unit of Most
}

// entry is a value in Cache.order, with its key so that it can be forgotten.
type entry[V any] struct {
	key   string
	value V
}

// most is the room where Cache.Most says nothing.
const most = 32

// Get is the value of a key, and whether there is one.
func (c *Cache[V]) Get(key string) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.get(key)
}

// Put keeps a value, instead of any other of its key.
func (c *Cache[V]) Put(key string, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(key, value)
}

// Of is the value of a key. Where there is none it is made and kept; meanwhile the cache does nothing else.
func (c *Cache[V]) Of(key string, made func() V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.get(key)
	if !ok {
		value = made()
		c.put(key, value)
	}
	return value
}

// Delete forgets a key.
func (c *Cache[V]) Delete(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.kept[key]; ok {
		c.remove(e)
	}
}

// Len is how many values are kept.
func (c *Cache[V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kept)
}

// get finds a value and makes it the last used. This and the next two want mu to be held.
func (c *Cache[V]) get(key string) (value V, ok bool) {
	e, ok := c.kept[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry[V]).value, true
}

// put keeps a value and forgets those that were not used for longest until the others have room. A value larger than Most
// is forgotten itself.
func (c *Cache[V]) put(key string, value V) {
	if e, ok := c.kept[key]; ok {
		c.remove(e)
	}
	if c.kept == nil {
		c.kept = map[string]*list.Element{}
	}
	c.kept[key] = c.order.PushFront(&entry[V]{key, value})
	c.size += c.sizeOf(value)
	limit := c.Most
	if limit == 0 {
		limit = most
	}
	for c.size > limit {
		c.remove(c.order.Back())
	}
}

// remove forgets a value.
func (c *Cache[V]) remove(e *list.Element) {
	gone := c.order.Remove(e).(*entry[V])
	delete(c.kept, gone.key)
	c.size -= c.sizeOf(gone.value)
}

// sizeOf is the room that a value takes.
func (c *Cache[V]) sizeOf(value V) int {
	if c.Size == nil {
		return 1
	}
	return c.Size(value)
}
