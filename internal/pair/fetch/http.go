package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"realign/internal/fault"
	"realign/internal/retryafter"
)

// remote is one side to fetch from: a hub or a registry. It lasts for one Pull; Options are filled.
type remote struct {
	Options
	name   string // as errors call it
	token  string // sent to host only; "" sends none
	host   string // of the endpoint, with its port
	denied string // what to do about 401 and 403
}

const (
	maxRedirects  = 5
	maxPause      = 60 * time.Second // that Retry-After can ask for
	headerTimeout = 30 * time.Second // for an answer's header
	idleTimeout   = 60 * time.Second // without a byte
)

// get asks for a part of an address: all of it for from = 0 and to < 0. It follows redirects, the token staying with the
// host that it is for, and gives the answer of any status that is no redirect.
func (r *remote) get(ctx context.Context, address string, from, to int64, header http.Header) (*http.Response, error) {
	client := *r.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for range maxRedirects {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		for key, values := range header {
			request.Header[key] = values
		}
		request.Header.Set("User-Agent", "realign")
		// Ranges are of the bytes as they are: nothing may compress them on the way.
		request.Header.Set("Accept-Encoding", "identity")
		if to >= 0 {
			request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
		}
		if r.token != "" && request.URL.Host == r.host {
			request.Header.Set("Authorization", "Bearer "+r.token)
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		next := response.Header.Get("Location")
		if response.StatusCode < 300 || response.StatusCode > 399 || next == "" {
			return response, nil
		}
		response.Body.Close()
		target, err := request.URL.Parse(next)
		if err != nil || target.Scheme != "https" && target.Scheme != "http" || target.Scheme == "http" && request.URL.Scheme == "https" {
			return nil, fault.New(fault.Unavailable, "%s redirects to an address that is not safe", r.name)
		}
		address = target.String()
	}
	return nil, fault.New(fault.Unavailable, "%s redirects more than %d times", r.name, maxRedirects)
}

// document fetches something small: at most limit bytes. It returns the answer's header, too.
func (r *remote) document(ctx context.Context, address string, limit int64, header http.Header) (data []byte, head http.Header, err error) {
	err = r.retry(ctx, func(ctx context.Context) error {
		response, err := r.get(ctx, address, 0, -1, header)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return r.refusal(response)
		}
		head = response.Header
		if data, err = io.ReadAll(io.LimitReader(response.Body, limit+1)); err != nil {
			return err
		}
		if int64(len(data)) > limit {
			return fault.New(fault.Unavailable, "%s answered with more than %d bytes where a short answer was expected", r.name, limit)
		}
		return nil
	})
	return data, head, err
}

// busyError is an answer that may be another one later.
type busyError struct {
	error
	after time.Duration // the least pause; 0 leaves it to us
}

// refusal is the error of an answer that is not what was asked for.
// Forbidden, NotFound and Unavailable are final; what may go better
// later is a busyError.
func (r *remote) refusal(response *http.Response) error {
	status := response.StatusCode
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fault.New(fault.Forbidden, "%s answered %d: %s", r.name, status, r.denied)
	case status == http.StatusNotFound:
		return fault.New(fault.NotFound, "%s has no such model or file", r.name)
	case status == http.StatusTooManyRequests || status >= 500:
		return busyError{fault.New(fault.Unavailable, "%s answered %s", r.name, response.Status), retryafter.Parse(response.Header.Get("Retry-After"), time.Now(), maxPause)}
	}
	return fault.New(fault.Unavailable, "%s answered %s", r.name, response.Status)
}

// retry calls f until it succeeds, fails for good, or has failed Tries times in a row. A fault.Error that is no busyError
// is for good. f may return progressError to say that it got something before it failed: that starts the count anew. Pauses
// double, from half a second to 16 s, or are as long as the other side asks.
func (r *remote) retry(ctx context.Context, f func(context.Context) error) error {
	var last error
	for try := 0; try < r.Tries; try++ {
		err := f(ctx)
		var progress progressError
		if errors.As(err, &progress) {
			try, err = -1, progress.error
		}
		var final *fault.Error
		var busy busyError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &busy):
		case errors.As(err, &final):
			return err
		}
		last = err
		pause := time.Second << max(0, min(try, 5)) / 2
		if err := r.Wait(ctx, max(pause, busy.after)); err != nil {
			return err
		}
	}
	var known *fault.Error
	if errors.As(last, &known) {
		return known
	}
	return fault.Wrap(last, fault.Unavailable, "%s does not answer as it should, tried %d times", r.name, r.Tries)
}

// progressError is a failure behind some bytes.
type progressError struct{ error }

// under is an address below a base. A base that is no address of http or https is Invalid.
func under(base string, parts ...string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fault.Field("endpoint", "%.200q is not an address that begins with https:// or http://", base)
	}
	return u.JoinPath(parts...).String(), nil
}
