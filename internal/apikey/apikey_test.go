package apikey

import (
	"strings"
	"testing"
	"time"

	"realign/internal/fault"
)

func TestKey(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	k, secret, err := New("harness 1", "owner", now.Add(time.Hour), Limits{Requests: 1}, now)
	if err != nil || !strings.HasPrefix(secret, Prefix) || strings.Contains(secret, k.ID) || k.State(now) != "good" || k.State(now.Add(time.Hour)) != "expired" {
		t.Errorf("%+v, %v", k, err)
	}
	if _, other, _ := New("harness 1", "owner", time.Time{}, Limits{}, now); other == secret || Hash(other) == Hash(secret) {
		t.Error("two keys have one secret")
	}
	k.RevokedAt = now
	if err := k.Check(now); fault.KindOf(err) != fault.Forbidden || k.State(now) != "revoked" {
		t.Errorf("a revoked key: %v", err)
	}
	for field, make := range map[string]func() error{
		"name":    func() error { _, _, err := New(" x", "", time.Time{}, Limits{}, now); return err },
		"expires": func() error { _, _, err := New("x", "", now, Limits{}, now); return err },
		"lanes":   func() error { _, _, err := New("x", "", time.Time{}, Limits{Lanes: -1}, now); return err },
	} {
		if err := make(); fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// Whatever a header holds, its secret is what is behind Bearer, and the whole of it.
func FuzzSecret(f *testing.F) {
	for _, header := range []string{"Bearer rk-x", "bearer  rk-x ", "Basic dTpw", "Bearer", "", "Bearer\trk-x"} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		secret := Secret(header)
		if secret != strings.TrimSpace(secret) || !strings.Contains(header, secret) {
			t.Errorf("%q has the secret %q", header, secret)
		}
		if secret != "" && Secret("Bearer "+secret) != secret {
			t.Errorf("%q: the secret %q is read as %q", header, secret, Secret("Bearer "+secret))
		}
	})
}
