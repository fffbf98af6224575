// Package fetch downloads models from Hugging Face and from Ollama's registry into the stores in which those tools keep
// them, so that a model is on a machine once whoever fetched it. Downloads come in parallel ranges, go on where they were
// cut off, and are checked against the sums that the other side states before they are put in place. It is the only
// part of the program that reaches out to the network by itself, and only when somebody asks for a model.
package fetch

import (
	"context"
	"net/http"
	"time"
)

// Options of a download. The zero value is what a person wants.
type Options struct {
	Client   *http.Client // its redirects are not used: remote.get follows them itself. Nil is one with http.DefaultTransport
	Parallel int          // ranges at the same time; 0 is 4
	Range    int64        // bytes of one; 0 is 32 MiB
	Tries    int          // for a range, without a byte between them; 0 is 6

	// Progress is called now and then, from one goroutine at a time, with the bytes of all files.
	Progress func(Progress)

	// Wait pauses between tries; tests replace it. Nil sleeps.
	Wait func(context.Context, time.Duration) error

	// Free is how many bytes a folder's disk has left; tests replace it. Nil asks the system.
	Free func(folder string) (int64, error)
}

// Progress of a download.
type Progress struct {
	File  string // its name on the other side
	Done  int64  // bytes, of all files, those included that were there
	Total int64  // bytes, of all files
}

// fill sets what is zero to its default.
func (o Options) fill() Options {
	if o.Client == nil {
		o.Client = &http.Client{Transport: http.DefaultTransport}
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Range <= 0 {
		o.Range = 32 << 20
	}
	if o.Tries <= 0 {
		o.Tries = 6
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Wait == nil {
		o.Wait = func(ctx context.Context, d time.Duration) error {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if o.Free == nil {
		o.Free = freeBytes
	}
	return o
}
