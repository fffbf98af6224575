package pair

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Sums computes SHA-256 sums of files and remembers them by path, size and time of change, since model
// files are large.
type Sums struct {
	file string // where they are kept; "" keeps them in memory only

	mu   sync.Mutex // guards sums; never held while hashing
	sums map[string]sum
}

type sum struct {
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"`
	SHA256 string    `json:"sha256"`
}

// OpenSums reads the remembered sums. A file that is missing or broken is an empty one.
func OpenSums(file string) *Sums {
	s := &Sums{file: file, sums: map[string]sum{}}
	if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &s.sums) != nil {
		s.sums = map[string]sum{}
	}
	if s.sums == nil {
		s.sums = map[string]sum{}
	}
	return s
}

// SHA256 is the sum of a file, in hexadecimal.
func (s *Sums) SHA256(ctx context.Context, path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	known, ok := s.sums[path]
	s.mu.Unlock()
	if ok && known.Size == info.Size() && known.Time.Equal(info.ModTime()) {
		return known.SHA256, nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, reader{ctx, f}); err != nil {
		return "", fmt.Errorf("sha256 of %s: %w", path, err)
	}
	made := sum{Size: info.Size(), Time: info.ModTime(), SHA256: hex.EncodeToString(hash.Sum(nil))}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums[path] = made
	s.save()
	return made.SHA256, nil
}

// save writes the sums; s.mu is held. Failing to remember costs time only, so errors are dropped.
func (s *Sums) save() {
	if s.file == "" {
		return
	}
	data, err := json.MarshalIndent(s.sums, "", "  ")
	if err != nil {
		return
	}
	temp, err := os.CreateTemp(filepath.Dir(s.file), ".sums-")
	if err != nil {
		return
	}
	_, err = temp.Write(data)
	if closed := temp.Close(); err != nil || closed != nil || os.Rename(temp.Name(), s.file) != nil {
		os.Remove(temp.Name())
	}
}

// reader stops reading when its context is done.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}
