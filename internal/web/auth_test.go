package web

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"realign/internal/fault"
	"realign/internal/store"
)

func logins(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestLogins(t *testing.T) {
	now, kept := time.Unix(1e9, 0), logins(t)
	make := func(mode AuthMode, password string) (*auth, error) {
		return newAuth(&Config{Auth: mode, Password: password, Secret: []byte("s"), Logins: kept, Now: func() time.Time { return now }})
	}
	if _, err := make(AuthPassword, "short"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a short password: %v", err)
	}
	if _, err := make("open", ""); fault.KindOf(err) != fault.Invalid {
		t.Errorf("an unknown mode: %v", err)
	}
	if _, err := newAuth(&Config{Auth: AuthPassword, Password: "correct horse", Now: time.Now}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("nothing to keep logins in: %v", err)
	}
	a, _ := make(AuthPassword, "correct horse")
	b, _ := make(AuthPassword, "another horse")
	again, _ := make(AuthPassword, "correct horse") // after a restart, or another server on the same database
	ticket, err := a.logIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	valid := func(a *auth, ticket string) bool {
		t.Helper()
		id, err := a.holds(t.Context(), ticket)
		if err != nil {
			t.Fatal(err)
		}
		return id != ""
	}
	if !valid(a, ticket) || !valid(again, ticket) || valid(b, ticket) || valid(a, "") || valid(a, ticket[1:]) {
		t.Error("a login is valid for the password it was made with and unaltered only")
	}
	now = now.Add(loginAge)
	if valid(a, ticket) {
		t.Error("a login outlives its time")
	}
	ticket, _ = a.logIn(t.Context())
	if err := again.logOut(t.Context(), ticket); err != nil || valid(a, ticket) {
		t.Errorf("a login outlives its end by another server: %v", err)
	}
	if a.still(t.Context(), a.id("login", ticket)) {
		t.Error("its sockets are not told")
	}
}

// TestLogoutEndsWhatWasStolen: who has a copy of the cookie, or a socket that is open, is out when its owner logs out.
func TestLogoutEndsWhatWasStolen(t *testing.T) {
	w := newWorld(t, setup{auth: AuthPassword})
	p := w.person()
	p.post("/login", http.StatusSeeOther, "password", "correct horse")
	p.load()
	base, _ := url.Parse(w.http.URL)
	jar, _ := cookiejar.New(nil)
	jar.SetCookies(base, p.http.Jar.Cookies(base))
	thief := &person{w: w, http: &http.Client{Jar: jar, CheckRedirect: p.http.CheckRedirect}}
	thief.get("/sessions", 200)
	k := thief.dial()
	p.post("/logout", http.StatusSeeOther)
	for {
		_, err := k.next()
		if err == nil {
			continue // the states of pairs
		}
		if !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
			t.Errorf("the socket ended with %v", err)
		}
		break
	}
	if answer, _ := thief.do("GET", "/sessions", nil); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("a copy of the cookie opens %d after its owner has logged out", answer.StatusCode)
	}
}

// tryLogin sends a wrong or the right password from an address, by the proxy that this machine is.
func tryLogin(t *testing.T, p *person, password, forwarded string) int {
	t.Helper()
	header := []string{"Content-Type", "application/x-www-form-urlencoded"}
	if forwarded != "" {
		header = append(header, "X-Forwarded-For", forwarded)
	}
	answer, _ := p.do("POST", "/login", strings.NewReader(url.Values{"password": {password}}.Encode()), header...)
	return answer.StatusCode
}

func (w *world) strangers() *person {
	return &person{w: w, http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// TestLoginLimits: guessing is slow whatever is forged, and does not keep others out.
func TestLoginLimits(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	until := func(t *testing.T, p *person, from func(i int) string) int {
		t.Helper()
		for i := range 300 {
			if tryLogin(t, p, "wrong horse", from(i)) == http.StatusTooManyRequests {
				return i
			}
		}
		return 300
	}
	for name, c := range map[string]struct {
		proxies []netip.Prefix
		from    func(i int) string
		most    int // tries
	}{
		"a forged header without a proxy":        {nil, func(i int) string { return fmt.Sprintf("10.0.%d.1", i) }, wrongAtOnce},
		"a forged header before the proxy's":     {loopback, func(i int) string { return fmt.Sprintf("10.0.%d.1, 192.0.2.7", i) }, wrongAtOnce},
		"the proxy's address in the header":      {loopback, func(i int) string { return fmt.Sprintf("10.0.%d.1, 192.0.2.7, 127.0.0.1", i) }, wrongAtOnce},
		"a private address is no proxy":          {loopback, func(i int) string { return fmt.Sprintf("10.0.%d.1, 10.9.9.9", i) }, wrongAtOnce},
		"addresses of one network":               {loopback, func(i int) string { return fmt.Sprintf("2001:db8:1:2::%x", i+1) }, wrongAtOnce},
		"very many networks against one account": {loopback, func(i int) string { return fmt.Sprintf("2001:db8:%x::1", i+1) }, accountAtOnce},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{auth: AuthPassword, proxies: c.proxies})
			w.clock.stop()
			if n := until(t, w.strangers(), c.from); n > c.most {
				t.Errorf("%d wrong passwords were looked at", n)
			}
		})
	}

	t.Run("others", func(t *testing.T) {
		w := newWorld(t, setup{auth: AuthPassword, proxies: loopback})
		w.clock.stop()
		if got := tryLogin(t, w.strangers(), "correct horse", "192.0.2.1"); got != http.StatusSeeOther {
			t.Fatalf("logged in: %d", got)
		}
		until(t, w.strangers(), func(i int) string { return "192.0.2.7" })
		if got := tryLogin(t, w.strangers(), "correct horse", "192.0.2.8"); got != http.StatusSeeOther {
			t.Errorf("one attacker behind the proxy keeps another client out: %d", got)
		}
		until(t, w.strangers(), func(i int) string { return fmt.Sprintf("2001:db8:%x::1", i+1) }) // the account's count is used up
		if got := tryLogin(t, w.strangers(), "correct horse", "192.0.2.99"); got != http.StatusTooManyRequests {
			t.Errorf("guessing from many networks goes on in one more: %d", got)
		}
		if got := tryLogin(t, w.strangers(), "correct horse", "192.0.2.1"); got != http.StatusSeeOther {
			t.Errorf("many attackers keep out a network that has known the password: %d", got)
		}
	})

	t.Run("behind a proxy that nobody named", func(t *testing.T) {
		w := newWorld(t, setup{auth: AuthPassword})
		w.clock.stop()
		p := w.person()
		p.post("/login", http.StatusSeeOther, "password", "correct horse")
		p.post("/logout", http.StatusSeeOther)
		until(t, w.strangers(), func(i int) string { return "192.0.2.7" })
		if got := tryLogin(t, w.strangers(), "correct horse", ""); got != http.StatusTooManyRequests {
			t.Errorf("a stranger at the address: %d", got)
		}
		p.post("/login", http.StatusSeeOther, "password", "correct horse") // the browser is known
		if !strings.Contains(w.logs.String(), "--trusted-proxy") {
			t.Error("nobody is told to name the proxy")
		}
	})
}

func TestTries(t *testing.T) {
	now := time.Unix(1e9, 0)
	tries := newTries(func() time.Time { return now })
	for range wrongAtOnce {
		if _, err := tries.try("d", "n", false); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := tries.try("d", "n", true); ok || fault.KindOf(err) != fault.Busy {
		t.Errorf("a device may guess without end: %v %v", ok, err)
	}
	if ok, err := tries.try("", "n", true); !ok || err != nil {
		t.Errorf("a device uses up what its network may: %v", err)
	}
	now = now.Add(2 * wrongEvery)
	if ok, err := tries.try("d", "n", true); !ok || err != nil {
		t.Errorf("later: %v %v", ok, err)
	}
}

func TestParseProxies(t *testing.T) {
	got, err := ParseProxies([]string{"127.0.0.1", "10.1.2.3/16", "::1", "2001:db8::/32"})
	if err != nil || fmt.Sprint(got) != "[127.0.0.1/32 10.1.0.0/16 ::1/128 2001:db8::/32]" {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"", "proxy.example", "10.0.0.0/40", "0.0.0.0/0", "::/0", "10.0.0.1:80"} {
		if _, err := ParseProxies([]string{bad}); fault.Of(err) == nil || fault.Of(err).Field != "trusted-proxy" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestBehindTLS: browsers keep our cookies from other hosts and plain connections, as far as we know of TLS.
func TestBehindTLS(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for name, c := range map[string]struct {
		proxies []netip.Prefix
		header  []string
		secure  bool
	}{
		"a trusted proxy":            {loopback, []string{"X-Forwarded-Proto", "https"}, true},
		"a trusted proxy without":    {loopback, []string{"X-Forwarded-Proto", "http"}, false},
		"anybody who says so":        {nil, []string{"X-Forwarded-Proto", "https"}, false},
		"another proxy that says so": {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"X-Forwarded-Proto", "https"}, false},
		"nothing":                    {loopback, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{auth: AuthPassword, proxies: c.proxies})
			header := append([]string{"Content-Type", "application/x-www-form-urlencoded"}, c.header...)
			answer, _ := w.strangers().do("POST", "/login", strings.NewReader("password=correct+horse"), header...)
			if answer.StatusCode != http.StatusSeeOther || len(answer.Cookies()) < 2 {
				t.Fatalf("%d with %d cookies", answer.StatusCode, len(answer.Cookies()))
			}
			if (answer.Header.Get("Strict-Transport-Security") != "") != c.secure {
				t.Errorf("HSTS: %q", answer.Header.Get("Strict-Transport-Security"))
			}
			jar := []string{}
			for _, k := range answer.Cookies() {
				if k.Secure != c.secure || strings.HasPrefix(k.Name, "__Host-") != c.secure || k.Path != "/" || k.Domain != "" || !k.HttpOnly {
					t.Errorf("%s", k.Raw)
				}
				jar = append(jar, k.Name+"="+k.Value)
			}
			get := append([]string{"Cookie", strings.Join(jar, "; ")}, c.header...)
			if answer, _ := w.strangers().do("GET", "/sessions", nil, get...); answer.StatusCode != 200 {
				t.Errorf("the cookies are not understood: %d", answer.StatusCode)
			}
			if c.secure { // what another host of the domain could have set is no login
				plain := strings.ReplaceAll(strings.Join(jar, "; "), hostPrefix, "")
				if answer, _ := w.strangers().do("GET", "/sessions", nil, append([]string{"Cookie", plain}, c.header...)...); answer.StatusCode != http.StatusSeeOther {
					t.Errorf("a login without the prefix: %d", answer.StatusCode)
				}
			}
		})
	}
}

// TestOwnerIsKeptBehindTLS: an owner's cookie of earlier servers goes on under its new name.
func TestOwnerIsKeptBehindTLS(t *testing.T) {
	w := newWorld(t, setup{public: "https://realign.example"})
	secret := strings.Repeat("A", 43)
	answer, _ := w.strangers().do("GET", "/", nil, "Host", "realign.example", "Cookie", ownerCookie+"="+secret)
	for _, k := range answer.Cookies() {
		if k.Name == hostPrefix+ownerCookie && k.Value == secret {
			return
		}
	}
	t.Errorf("%v", answer.Cookies())
}
