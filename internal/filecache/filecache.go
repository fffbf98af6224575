// Package filecache remembers what was computed from large files, such as a checksum, for as long as a file keeps its
// size and its time of change. It does not notice a change that leaves both as they were.
package filecache

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Cache holds one value of type T for each file, by absolute path. It may be used from any goroutine.
type Cache[T any] struct {
	file string // where the values are kept; "" keeps them in memory only

	mu      sync.Mutex // guards entries and changed
	entries map[string]entry[T]
	changed bool // since the last Save
}

// entry is a value with what its file was like when it was computed.
type entry[T any] struct {
	Size  int64     `json:"size"` // of the file, in bytes
	Time  time.Time `json:"time"` // of its last change
	Value T         `json:"value"`
}

// Open reads the values kept in file. A file that is missing or broken is an empty one.
func Open[T any](file string) *Cache[T] {
	c := &Cache[T]{file: file}
	if data, err := os.ReadFile(file); err != nil || json.Unmarshal(data, &c.entries) != nil || c.entries == nil {
		c.entries = map[string]entry[T]{}
	}
	return c
}

// Get is the value of a file that is still as info says. The path must be absolute.
func (c *Cache[T]) Get(path string, info fs.FileInfo) (value T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[path]
	if !ok || e.Size != info.Size() || !e.Time.Equal(info.ModTime()) {
		return value, false
	}
	return e.Value, true
}

// Put remembers the value of a file that was as info says when its computation began.
func (c *Cache[T]) Put(path string, info fs.FileInfo, value T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[path] = entry[T]{Size: info.Size(), Time: info.ModTime(), Value: value}
	c.changed = true
}

// Save writes all values to the cache's file, all or nothing. An error costs time later and nothing else, so callers
// may drop it.
func (c *Cache[T]) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == "" || !c.changed {
		return nil
	}
	data, err := json.MarshalIndent(c.entries, "", "  ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(c.file), ".cache-")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temp.Name(), c.file)
	}
	if err != nil {
		os.Remove(temp.Name())
		return err
	}
	c.changed = false
	return nil
}
