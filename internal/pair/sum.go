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
)

// Sums computes SHA-256 sums of files and remembers them, since model files are large.
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
