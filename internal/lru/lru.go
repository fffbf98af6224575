// Package lru keeps a number of values by their keys: those that were used last. It knows neither sizes nor times, and
// makes no value itself.
package lru

import (
	"container/list"
	"sync"
)

// Cache is such values. The zero Cache with Most set is an empty one. It may be used from any goroutine; it must not be copied.
type Cache[V any] struct {
	Most int // values that are kept, from 1; 0 is 32

	mu    sync.Mutex // guards what follows
	kept  map[string]*list.Element
	order list.List // of entries, the last used first
}

type entry[V any] struct {
	key   string
	value V
}

const most = 32 // unless Cache.Most says otherwise

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
		c.order.Remove(e)
		delete(c.kept, key)
	}
}

// Len is how many values are kept.
func (c *Cache[V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kept)
}

func (c *Cache[V]) get(key string) (value V, ok bool) {
	e, ok := c.kept[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry[V]).value, true
}

func (c *Cache[V]) put(key string, value V) {
	if e, ok := c.kept[key]; ok {
		c.order.MoveToFront(e)
		e.Value.(*entry[V]).value = value
		return
	}
	if c.kept == nil {
		c.kept = map[string]*list.Element{}
	}
	c.kept[key] = c.order.PushFront(&entry[V]{key, value})
	limit := c.Most
	if limit == 0 {
		limit = most
	}
	for len(c.kept) > limit {
		delete(c.kept, c.order.Remove(c.order.Back()).(*entry[V]).key)
	}
}
