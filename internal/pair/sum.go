package pair

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"realign/internal/filecache"
	"realign/internal/gguf"
)

// Sums computes SHA-256 sums of files and remembers them, since model files are large. A sum is remembered while the file's
// size and time stay. Any goroutine may use it.
type Sums struct {
	known *filecache.Cache[string] // in hexadecimal
}

// OpenSums reads the remembered sums; "" keeps them in memory only.
func OpenSums(file string) *Sums { return &Sums{filecache.Open[string](file)} }

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
	if sum, ok := s.known.Get(path, info); ok {
		return sum, nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, reader{ctx, f}); err != nil {
		return "", fmt.Errorf("sha256 of %s: %w", path, err)
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	s.known.Put(path, info, sum)
	_ = s.known.Save() // a sum that is not remembered is computed again
	return sum, nil
}

// Model is the sum of a model's file. Of one in parts it is the SHA-256 of its parts' sums in hexadecimal, one after another.
func (s *Sums) Model(ctx context.Context, path string) (string, error) {
	parts := gguf.Parts(path)
	if len(parts) == 1 {
		return s.SHA256(ctx, path)
	}
	all := sha256.New()
	for _, part := range parts {
		sum, err := s.SHA256(ctx, part)
		if err != nil {
			return "", err
		}
		io.WriteString(all, sum)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// reader stops reading when its context is done.
type reader struct {
	ctx context.Context
	io.Reader
}

// Read is the inner reader's, or the context's error.
func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}
