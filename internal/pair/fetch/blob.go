package fetch

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"realign/internal/fault"
)

// blob is a file to be fetched.
type blob struct {
	name    string // as people know it
	address string
	path    string // where it goes
	size    int64  // bytes
	sha256  string // in hexadecimal; or
	gitSHA1 string // that of git's object, for files that are not kept as large ones
}

// Unfinished downloads are beside the file: its bytes, with holes, and which ranges are there.
const (
	partSuffix   = ".realign-part"
	rangesSuffix = ".realign-ranges"
)

// fetch downloads all blobs that are not there, each into place only when its sum is right. A file of the right
// size counts as there.
func (r *remote) fetch(ctx context.Context, blobs []blob) error {
	meter := &meter{report: r.Progress}
	var missing int64
	for _, b := range blobs {
		meter.progress.Total += b.size
		if info, err := os.Stat(b.path); err == nil && info.Size() == b.size {
			meter.progress.Done += b.size
		} else {
			missing += b.size - finished(b)
		}
	}
	if err := r.space(blobs, missing); err != nil {
		return err
	}
	for _, b := range blobs {
		if info, err := os.Stat(b.path); err == nil && info.Size() == b.size {
			continue
		}
		if err := r.blob(ctx, b, meter); err != nil {
			return err
		}
	}
	return nil
}

// space is Unavailable where the disk has no room for the bytes that are missing. It makes the folder.
func (r *remote) space(blobs []blob, missing int64) error {
	if missing == 0 || len(blobs) == 0 {
		return nil
	}
	folder := filepath.Dir(blobs[0].path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the folder %s cannot be made", folder)
	}
	const margin = 64 << 20 // left to others
	if free, err := r.Free(folder); err == nil && free < missing+margin {
		return fault.New(fault.Unavailable, "%.1f GB are to be fetched and the disk of %s has %.1f GB left", float64(missing)/1e9, folder, float64(free)/1e9)
	}
	return nil
}

// blob downloads one file in ranges, going on with what an earlier call left. Another program fetching the same file is a
// Conflict, another sum Invalid.
func (r *remote) blob(ctx context.Context, b blob, meter *meter) error {
	if err := os.MkdirAll(filepath.Dir(b.path), 0o755); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the folder %s cannot be made", filepath.Dir(b.path))
	}
	file, err := os.OpenFile(b.path+partSuffix, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be written", b.path)
	}
	defer file.Close()
	if err := lock(file); err != nil {
		return fault.New(fault.Conflict, "%s is being fetched by another program", b.name)
	}
	done := openRanges(b, r.Range)
	meter.start(b.name, done.bytes())
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(r.Parallel)
	for i := range done.Done {
		if done.Done[i] {
			continue
		}
		group.Go(func() error {
			from, to := done.span(i)
			if err := r.span(inner, b, file, from, to, meter); err != nil {
				return err
			}
			return done.finish(i)
		})
	}
	if err := group.Wait(); err != nil {
		return fullDisk(b, err)
	}
	if err := verify(ctx, b, file); err != nil {
		if fault.KindOf(err) == fault.Invalid { // what is there is not what was asked for: begin anew next time
			os.Remove(b.path + rangesSuffix)
			os.Remove(b.path + partSuffix)
		}
		return err
	}
	if err := errors.Join(file.Sync(), os.Rename(b.path+partSuffix, b.path)); err != nil {
		return fullDisk(b, err)
	}
	os.Remove(b.path + rangesSuffix)
	return nil
}

// span downloads the bytes from one place up to another, trying again from the first that is missing. Several run at once,
// each in its own range of the file.
func (r *remote) span(ctx context.Context, b blob, file *os.File, from, to int64, meter *meter) error {
	if from == to {
		return nil
	}
	return r.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		quiet := time.AfterFunc(headerTimeout, cancel) // a side that says nothing is given up
		defer quiet.Stop()
		response, err := r.get(ctx, b.address, from, to, nil)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		skip := int64(0)
		switch response.StatusCode {
		case http.StatusPartialContent:
			var first, last, size int64
			if n, _ := fmt.Sscanf(response.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); n != 3 || first != from || size != b.size {
				return fault.New(fault.Unavailable, "%s sends another part of %s than was asked for", r.name, b.name)
			}
		case http.StatusOK: // it knows no ranges
			skip = from
		default:
			return r.refusal(response)
		}
		body := io.Reader(response.Body)
		if _, err := io.CopyN(io.Discard, body, skip); err != nil {
			return err
		}
		began := from
		buffer := make([]byte, 256<<10)
		for from < to {
			quiet.Reset(idleTimeout)
			n, err := body.Read(buffer[:min(int64(len(buffer)), to-from)])
			if n > 0 {
				if _, err := file.WriteAt(buffer[:n], from); err != nil {
					return fault.Wrap(err, fault.Unavailable, "%s cannot be written", b.path)
				}
				from += int64(n)
				meter.add(int64(n))
			}
			if err != nil && from < to {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				if from > began {
					return progressError{err}
				}
				return err
			}
		}
		return nil
	})
}

// fullDisk is err, or what to do where err is that of a full disk.
func fullDisk(b blob, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fault.New(fault.Unavailable, "the disk of %s is full; what was fetched is kept, and the same command goes on from there", filepath.Dir(b.path))
	}
	return err
}

// verify compares a whole file with the sum that the other side states; without one anything goes. Another sum is
// Invalid.
func verify(ctx context.Context, b blob, file *os.File) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var sum hash.Hash
	want := b.sha256
	switch {
	case b.sha256 != "":
		sum = sha256.New()
	case b.gitSHA1 != "":
		sum, want = sha1.New(), b.gitSHA1
		fmt.Fprintf(sum, "blob %d\x00", b.size)
	default:
		return nil
	}
	if _, err := io.Copy(sum, reader{ctx, file}); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != strings.ToLower(want) {
		return fault.New(fault.Invalid, "%s arrived with the sum %s instead of %s: it is thrown away; try again", b.name, got, want)
	}
	return nil
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

// ranges says which parts of an unfinished download are there. Its JSON is the file beside the download.
type ranges struct {
	path string // of that file
	Size int64  `json:"size"`  // of the whole file
	Each int64  `json:"range"` // bytes of a range, but for the last
	Sum  string `json:"sum"`   // that the file is to have, in hexadecimal: of another sum it is another download
	Done []bool `json:"done"`  // by range

	mu sync.Mutex // guards Done
}

// openRanges reads what an earlier download left, if it was of the same file; else nothing is there. each is the size of a
// range of a new download, in bytes; an earlier one keeps its own.
func openRanges(b blob, each int64) *ranges {
	made := &ranges{path: b.path + rangesSuffix, Size: b.size, Each: each, Sum: b.sha256 + b.gitSHA1, Done: make([]bool, max(1, (b.size+each-1)/each))}
	data, err := os.ReadFile(made.path)
	if err != nil {
		return made
	}
	left := &ranges{path: made.path}
	if json.Unmarshal(data, left) != nil || left.Size != b.size || left.Sum != made.Sum || left.Each <= 0 || int64(len(left.Done)) != max(1, (left.Size+left.Each-1)/left.Each) {
		return made
	}
	if info, err := os.Stat(b.path + partSuffix); err != nil || info.Size() == 0 && left.bytes() > 0 {
		return made
	}
	return left
}

// finished is how many bytes of a file an earlier download left.
func finished(b blob) int64 { return openRanges(b, max(b.size, 1)).bytes() }

// span is where range i begins, and where it ends: behind its last byte.
func (r *ranges) span(i int) (from, to int64) {
	from = int64(i) * r.Each
	return from, min(from+r.Each, r.Size)
}

// bytes is how many bytes are there.
func (r *ranges) bytes() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, done := range r.Done {
		if from, to := r.span(i); done {
			n += to - from
		}
	}
	return n
}

// finish notes that a range was written, in memory and in the file.
func (r *ranges) finish(i int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Done[i] = true
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	temp := r.path + ".new"
	if err := os.WriteFile(temp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, r.path)
}

// meter adds up the bytes of several ranges and reports them, at most five times a second and at the end.
type meter struct {
	mu       sync.Mutex // guards the fields below; report is called under it
	progress Progress
	report   func(Progress)
	told     time.Time // when report was called last by add
}

// start begins a file of which some bytes are there.
func (m *meter) start(file string, there int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.progress.File = file
	m.progress.Done += there
	m.report(m.progress)
}

// add counts bytes that have come.
func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.progress.Done += n
	if now := time.Now(); now.Sub(m.told) > 200*time.Millisecond || m.progress.Done == m.progress.Total {
		m.told = now
		m.report(m.progress)
	}
}

// exists reports whether something is at a path, a broken link included.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
