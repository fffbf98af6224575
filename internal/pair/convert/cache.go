package convert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// Job is a conversion to be done once.
type Job struct {
	Dir      string // folder of safetensors or of a PEFT adapter
	Name     string // that the model has in its file, as in Options
	Base     string // of an adapter: the GGUF model that it is for; "" for a model
	Quantize string // type of weights that the model is quantised to, such as q8_0; "" leaves them
}

// Cache keeps converted files in a folder, each under a name that changes with what it was made of. All fields must
// be set.
type Cache struct {
	Folder string                                                 // made when it is needed
	Sum    func(ctx context.Context, path string) (string, error) // SHA-256 of a file, which may be remembered

	// Run does a conversion; the file is there when it returns. Free is how many bytes the folder's disk has left.
	Run  func(ctx context.Context, job Job, out string) error
	Free func(folder string) (int64, error)
}

// Get is the file that a conversion makes, made now if it is not there. A conversion that fails, or is cut off, leaves
// nothing. Two calls at once both convert, and the later one's file stays. A disk without room is Unavailable.
func (c *Cache) Get(ctx context.Context, job Job) (string, error) {
	key, size, err := c.key(ctx, job)
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.Folder, fileName(job)+"-"+key[:16]+".gguf")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(c.Folder, 0o755); err != nil {
		return "", fault.Wrap(err, fault.Unavailable, "the folder of converted models, %s, cannot be made", c.Folder)
	}
	if job.Quantize != "" {
		size += size / 2 // beside what it is made of
	}
	if free, err := c.Free(c.Folder); err == nil && free < size+size/20 {
		return "", fault.New(fault.Unavailable, "%s takes up to %d MB, and the disk of %s has %d MB left", job.Dir, size>>20, c.Folder, free>>20)
	}
	c.sweep()
	part, err := os.MkdirTemp(c.Folder, ".converting-")
	if err != nil {
		return "", fault.Wrap(err, fault.Unavailable, "nothing can be written to %s", c.Folder)
	}
	defer os.RemoveAll(part)
	made := filepath.Join(part, "model.gguf")
	if err := c.Run(ctx, job, made); err != nil {
		return "", err
	}
	return path, os.Rename(made, path)
}

// sweep removes what conversions left whose program was killed: folders older than a day.
func (c *Cache) sweep() {
	const old = 24 * time.Hour
	left, _ := filepath.Glob(filepath.Join(globbed(c.Folder), ".converting-*")) // the pattern is right
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > old {
			os.RemoveAll(path)
		}
	}
}

// key is a sum over everything that the result depends on, in hexadecimal, and the bytes of weights.
func (c *Cache) key(ctx context.Context, job Job) (key string, size int64, err error) {
	weights := modelFiles
	if job.Base != "" {
		weights = adapterFiles
	}
	files, err := weights(job.Dir)
	if err != nil {
		return "", 0, err
	}
	for _, f := range files {
		info, err := os.Stat(filepath.Join(job.Dir, f))
		if err != nil {
			return "", 0, fault.Wrap(err, fault.Unavailable, "%s cannot be read", job.Dir)
		}
		size += info.Size()
	}
	// What is read beside the weights: configurations, tokenizers and chat templates.
	entries, err := os.ReadDir(job.Dir)
	if err != nil {
		return "", 0, fault.Wrap(err, fault.Unavailable, "%s cannot be read", job.Dir)
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".json", ".model", ".jinja":
			if mode := e.Type(); mode.IsRegular() || mode&fs.ModeSymlink != 0 {
				files = append(files, e.Name())
			}
		}
	}
	slices.Sort(files)
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\x00%s\x00%s\x00", Version, job.Name, job.Quantize)
	for _, f := range slices.Compact(files) {
		s, err := c.Sum(ctx, filepath.Join(job.Dir, f))
		if err != nil {
			return "", 0, err
		}
		fmt.Fprintf(sum, "%s\x00%s\x00", f, s)
	}
	if job.Base != "" {
		base, err := gguf.Open(job.Base)
		if err != nil {
			return "", 0, err
		}
		// Of the base an adapter depends on the architecture, its heads, and which weights it has.
		fmt.Fprintf(sum, "%s\x00%v\x00%v\x00", base.Architecture(), base.Metadata[base.Architecture()+".attention.head_count"], base.Metadata[base.Architecture()+".attention.head_count_kv"])
		for _, t := range base.Tensors {
			fmt.Fprintf(sum, "%s%v\x00", t.Name, t.Shape)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), size, nil
}

// fileName is the readable part of a file's name: letters, digits, dots, dashes and underscores.
func fileName(job Job) string {
	name := strings.Map(func(r rune) rune {
		if r < 128 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '-'
	}, named(job.Dir, job.Name))
	name = strings.TrimLeft(name[:min(len(name), 60)], ".-")
	if job.Quantize != "" {
		name += "-" + job.Quantize
	}
	if name == "" {
		name = "model"
	}
	return name
}
