package reward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"realign/internal/fault"
	"realign/internal/retryafter"
	"realign/internal/sweep"
)

// Limits of asking an endpoint.
const (
	maxAnswer  = 1 << 20 // bytes
	maxTries   = 10      // of one question
	maxAtOnce  = 64      // questions to one endpoint
	longestTry = 600     // seconds
)

// asking are the parameters of every reward that asks an endpoint.
type asking struct {
	URL       string  `json:"url"`        // address
	Key       string  `json:"key"`        // name of the environment variable that holds the key
	KeyHeader string  `json:"key_header"` // header that the key is sent in; "" finds out
	Timeout   float64 `json:"timeout"`    // seconds for one try
	Tries     int     `json:"tries"`      // how often to ask at most
	AtOnce    int     `json:"at_once"`    // questions at a time
}

// defaultAsking are the parameters where none are given, but for the address.
func defaultAsking() asking { return asking{Timeout: 60, Tries: 5, AtOnce: 4} }

// askingSchema describes asking for people, with the same defaults.
func askingSchema() []Parameter {
	return []Parameter{
		{"url", "address", ""},
		{"key", "name of the environment variable that holds the key", ""},
		{"key_header", "header that the key is sent in, such as api-key; empty is a bearer token in Authorization, or api-key where that is refused", ""},
		{"timeout", "seconds for one try", "60"},
		{"tries", "how often to ask where the answer is 429, 5xx, late or unreadable", "5"},
		{"at_once", "questions at a time", "4"},
	}
}

// endpoint is an address that answers questions about texts.
// A reward that asks has one for as long as it is open; any goroutine may ask.
type endpoint struct {
	asking
	token string      // the key; "" for none
	named atomic.Bool // the key goes in a header of its own, as the endpoint refused a bearer token
	http  *http.Client
	cache Cache         // of answers; or nil
	pause time.Duration // before the second try; doubled before every further one
	slots chan struct{} // questions at a time, over all calls of Score
}

// open checks the parameters. Redirects are not followed: an address that may be asked must not lead to one that may not.
func (a asking) open(e Environment) (*endpoint, error) {
	u, err := url.Parse(a.URL)
	switch {
	case a.URL == "":
		return nil, fault.Field("url", "is needed")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fault.Field("url", "is not an http or https address")
	case u.User != nil:
		return nil, fault.Field("url", "must not hold a password: name an environment variable as key")
	case strings.ContainsFunc(a.KeyHeader, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) || len(a.KeyHeader) > 100:
		return nil, fault.Field("key_header", "%.40q is not the name of a header", a.KeyHeader)
	case !(a.Timeout > 0) || a.Timeout > longestTry:
		return nil, fault.Field("timeout", "%g is not above 0 and up to %d seconds", a.Timeout, longestTry)
	case a.Tries < 1 || a.Tries > maxTries:
		return nil, fault.Field("tries", "%d is not from 1 to %d", a.Tries, maxTries)
	case a.AtOnce < 1 || a.AtOnce > maxAtOnce:
		return nil, fault.Field("at_once", "%d is not from 1 to %d", a.AtOnce, maxAtOnce)
	}
	switch {
	case e.Endpoint != nil:
		if err := e.Endpoint(a.URL); err != nil {
			return nil, fault.Field("url", "%s", fault.Of(err).Message)
		}
	case !e.Headless:
		return nil, fault.Field("url", "this server asks no endpoints: the command line does")
	}
	p := &endpoint{
		asking: a, cache: e.Cache, pause: time.Second, slots: make(chan struct{}, a.AtOnce),
		http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if a.Key != "" {
		if e.Secret != nil {
			p.token = e.Secret(a.Key)
		}
		if p.token == "" {
			return nil, fault.Field("key", "there is no secret called %q", a.Key)
		}
	}
	return p, nil
}

// trial is the context of a trial question, whose key it has: somebody waits for the answer, so it is asked twice at most.
func (p *endpoint) trial(ctx context.Context) context.Context {
	return context.WithValue(ctx, trial{}, true)
}

// trial is the key of a context in which a question is a trial.
type trial struct{}

// most is how often a question is asked.
func (p *endpoint) most(ctx context.Context) int {
	if ctx.Value(trial{}) != nil {
		return min(p.Tries, 2)
	}
	return p.Tries
}

// tried puts the error of a trial question into words: which parameter is to be changed, and what the endpoint says.
func (p *endpoint) tried(err error) error {
	var no refused
	var lost unreached
	switch {
	case err == nil:
		return nil
	case errors.As(err, &lost):
		return fault.Field("url", "the endpoint does not answer a trial question: %v", err)
	case errors.As(err, &no) && keyRefused(no.code):
		return fault.Field("key", "the endpoint refuses it: %s%s", no.status, tail(no.answer))
	case errors.As(err, &no) && no.code >= 300 && no.code < 400:
		return fault.Field("url", "the endpoint sends elsewhere: %s", no.status)
	}
	return fault.Field("url", "a trial question failed: %v", err)
}

// request makes a request with the key, if there is one, where the endpoint is known to want it.
func (p *endpoint) request(ctx context.Context, method, address string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fault.Field("url", "is not an address")
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	switch {
	case p.token == "":
	case p.KeyHeader != "" && !strings.EqualFold(p.KeyHeader, "Authorization"):
		request.Header.Set(p.KeyHeader, p.token)
	case p.KeyHeader == "" && p.named.Load():
		request.Header.Set("api-key", p.token)
	default:
		request.Header.Set("Authorization", "Bearer "+p.token)
	}
	return request, nil
}

// address is the endpoint's address with a path below its own; its query stays.
func (p *endpoint) address(path string) string {
	u, err := url.Parse(p.URL)
	if err != nil { // open has looked
		return p.URL
	}
	u.Path, u.RawPath = u.Path+path, ""
	return u.String()
}

// unreadable is an answer that came and cannot be used: asking again may help, unless it is final.
type unreadable struct {
	reason string
	final  bool
}

// Error implements error.
func (u unreadable) Error() string { return u.reason }

// refused is an answer whose status says that the question is not taken.
type refused struct {
	code   int    // HTTP status
	status string // the same in words
	answer []byte // body
}

// Error implements error: the status, and the beginning of what came with it.
func (r refused) Error() string { return "the endpoint says " + r.status + tail(r.answer) }

// unreached is a question that got no answer.
type unreached struct{ reason string }

// Error implements error.
func (u unreached) Error() string { return u.reason }

// key is what an answer is kept by.
func (p *endpoint) key(address string, body []byte) string {
	sum := sha256.Sum256(append([]byte(address+"\x00"), body...))
	return hex.EncodeToString(sum[:])
}

// ask posts a question until read, which returns an unreadable error for an answer that it cannot use, takes the
// answer, which is kept by key. fresh is how many answers came, cached ones not counted: what has to be paid. The error is what people read.
func (p *endpoint) ask(ctx context.Context, key, address string, body []byte, read func(answer []byte) error) (fresh [][]byte, err error) {
	if p.cache != nil {
		if answer, ok := p.cache.Get(key); ok && read(answer) == nil {
			return nil, nil
		}
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, errors.New("stopped before it was judged")
	}
	pause := p.pause
	for try := 1; ; try++ {
		answer, again, wait, err := p.once(ctx, address, body)
		if err == nil {
			fresh = append(fresh, answer)
			if err = read(answer); err == nil {
				if p.cache != nil {
					p.cache.Put(key, answer)
				}
				return fresh, nil
			}
			var u unreadable
			again = !(errors.As(err, &u) && u.final)
		}
		if ctx.Err() != nil {
			return fresh, errors.New("stopped before it was judged")
		}
		if !again || try >= p.most(ctx) {
			if try > 1 {
				return fresh, fmt.Errorf("%w (asked %d times)", err, try)
			}
			return fresh, err
		}
		// Between half of the pause and all of it, so that questions that failed together do not come back together.
		delay := max(wait, pause/2+rand.N(pause/2+1))
		pause = min(2*pause, time.Minute)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fresh, errors.New("stopped before it was judged")
		}
	}
}

// once asks once. again says whether asking again may help, and wait how long the endpoint wants to be left alone.
func (p *endpoint) once(ctx context.Context, address string, body []byte) (answer []byte, again bool, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.Timeout*float64(time.Second)))
	defer cancel()
	request, err := p.request(ctx, http.MethodPost, address, body)
	if err != nil {
		return nil, false, 0, err
	}
	response, err := p.http.Do(request)
	if err != nil {
		return nil, true, 0, unreached{cause(err)}
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch code := response.StatusCode; {
	case err != nil:
		return nil, true, 0, unreached{cause(err)}
	case len(answer) > maxAnswer:
		return nil, false, 0, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		return nil, true, retryafter.Parse(response.Header.Get("Retry-After"), time.Now(), longestWait), refused{code, response.Status, answer}
	case keyRefused(code) && p.token != "" && p.KeyHeader == "" && p.named.CompareAndSwap(false, true):
		if answer, again, wait, err = p.once(ctx, address, body); err != nil {
			p.named.Store(false)
		}
		return answer, again, wait, err
	case code != http.StatusOK:
		return nil, false, 0, refused{code, response.Status, answer}
	}
	return answer, false, 0, nil
}

// keyRefused reports whether a status says that the key is not taken.
func keyRefused(code int) bool {
	return code == http.StatusUnauthorized || code == http.StatusForbidden
}

// longestWait is how long an endpoint may ask to be left alone.
const longestWait = 5 * time.Minute

// cause is a network error without the address, which may hold what is nobody's business.
func cause(err error) string {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var late net.Error
	switch {
	case errors.As(err, &late) && late.Timeout():
		return "the endpoint did not answer in time"
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "the endpoint closed the connection"
	}
	return "the endpoint cannot be reached: " + err.Error()
}

// tail is the beginning of what came with an error, on one line.
func tail(answer []byte) string {
	text := strings.Join(strings.Fields(string(answer)), " ")
	if text == "" {
		return ""
	}
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return ": " + text
}

// together calls judge for every output at the same time; the endpoint's slots bound how many really are.
func together(n int, judge func(i int) sweep.Value) []sweep.Value {
	values := make([]sweep.Value, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { values[i] = judge(i) })
	}
	wait.Wait()
	return values
}
