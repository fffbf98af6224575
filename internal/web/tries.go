package web

import (
	"sync"
	"time"

	"realign/internal/fault"
)

// tries bounds how fast passwords can be guessed, so that guessing does not lock out who knows the password. Wrong passwords
// count against the browser, if it has logged in before, else against the client's network and, so that many networks together
// cannot guess fast either, against the account. A browser that has logged in has a count of its own that nobody else can use
// up, whatever it shares its address with (device cookies: OWASP, Slow Down Online Guessing Attacks with Device Cookies).
type tries struct {
	now      func() time.Time
	devices  *limiter // wrong passwords of browsers that have logged in
	networks *limiter // wrong passwords of networks, for other browsers
	account  *limiter // wrong passwords of all networks that are not known

	mu    sync.Mutex           // guards known
	known map[string]time.Time // networks from which the password was right, and when; the account's count is not theirs
}

// How fast passwords may be wrong.
const (
	wrongEvery    = 12 * time.Second // of a browser or network, over time
	wrongAtOnce   = 5
	accountEvery  = time.Second // of all networks from which the password was never right
	accountAtOnce = 100
	maxClients    = 10_000 // that are remembered, of each kind
	knownFor      = 30 * 24 * time.Hour
)

// newTries is tries of which none was made.
func newTries(now func() time.Time) *tries {
	return &tries{
		now:     now,
		devices: newLimiter(wrongEvery, wrongAtOnce, maxClients, now), networks: newLimiter(wrongEvery, wrongAtOnce, maxClients, now),
		account: newLimiter(accountEvery, accountAtOnce, 1, now),
		known:   map[string]time.Time{},
	}
}

// try counts one try of a device that has logged in ("" for none) in a network. It returns right, or a Busy error when there
// were too many wrong ones; a right password is not looked at then, either.
func (t *tries) try(device, network string, right bool) (bool, error) {
	own, name := t.networks, network
	if device != "" {
		own, name = t.devices, device
	}
	counts := device == "" && !t.isKnown(network)
	if right && own.peek(name) && (!counts || t.account.peek("")) {
		t.know(network)
		return true, nil
	}
	err := own.allow(name, "wrong passwords")
	if err == nil && counts {
		err = t.account.allow("", "wrong passwords")
	}
	if err == nil && right { // the count of the account, or its own, was used up until now
		err = fault.New(fault.Busy, "too many wrong passwords: wait a little and try again")
	}
	return false, err
}

// isKnown reports whether the password was right from a network lately.
func (t *tries) isKnown(network string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.known[network]
	return ok && t.now().Sub(at) < knownFor
}

// know notes that the password was right from a network.
func (t *tries) know(network string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if len(t.known) >= maxClients {
		for n, at := range t.known {
			if now.Sub(at) >= knownFor {
				delete(t.known, n)
			}
		}
	}
	if len(t.known) < maxClients {
		t.known[network] = now
	}
}
