// Package apikey has the keys with which programs use the API: what they are, how they are checked, and what each may do.
// It has no storage and no HTTP.
package apikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
	"time"

	"realign/internal/fault"
)

// Key is a key as it is kept: the secret itself is shown once, when the key is made.
type Key struct {
	ID        string
	Name      string // unique among the keys that are not revoked
	Owner     string // whose sessions calls with "store" become; "" for keys of the command line
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero unless revoked
	UsedAt    time.Time // to the minute; zero: never
	Limits              // of the key; the zero ones are none
}

// Limits of a key; 0 is without limit.
type Limits struct {
	Requests int `json:"requests_per_minute"` // that begin within a minute
	Tokens   int `json:"tokens_per_minute"`   // of prompts and completions
	Lanes    int `json:"lanes"`               // of the key's calls, that are decoded at the same time; a lane is one reply at one λ
}

// Prefix begins every secret, so that one that leaked is recognised, and one of ours is told from any other text.
const Prefix = "rk-"

// secretBytes is the number of random bytes in a secret.
const secretBytes = 32

// name is the form of the names of keys.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$`)

// New makes a key and its secret, which nobody can find out later. A zero expiry is never. The error is Invalid and
// names the field.
func New(keyName, owner string, expires time.Time, limits Limits, now time.Time) (Key, string, error) {
	if !name.MatchString(keyName) {
		return Key{}, "", fault.Field("name", "%.80q is not a name: up to 64 letters, digits, spaces, dots, dashes and underscores, beginning with a letter or digit", keyName)
	}
	if !expires.IsZero() && !expires.After(now) {
		return Key{}, "", fault.Field("expires", "%s is not in the future", expires.Format(time.DateOnly))
	}
	for field, n := range map[string]int{"requests_per_minute": limits.Requests, "tokens_per_minute": limits.Tokens, "lanes": limits.Lanes} {
		if n < 0 || n > 1e9 {
			return Key{}, "", fault.Field(field, "%d is not from 0, for no limit, to 1000000000", n)
		}
	}
	random := make([]byte, secretBytes)
	rand.Read(random) // never fails
	secret := Prefix + base64.RawURLEncoding.EncodeToString(random)
	return Key{ID: Hash(secret)[:16], Name: keyName, Owner: owner, CreatedAt: now, ExpiresAt: expires, Limits: limits}, secret, nil
}

// Hash is what a secret is kept and found by. Secrets are 256 random bits: no salt is needed.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte("key\x00" + secret))
	return hex.EncodeToString(sum[:])
}

// Secret is the secret in an Authorization header, "" when there is none.
func Secret(header string) string {
	kind, secret, _ := strings.Cut(header, " ")
	if !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

// Check is a Forbidden error that says why a key may not be used.
func (k *Key) Check(now time.Time) error {
	switch {
	case !k.RevokedAt.IsZero():
		return fault.New(fault.Forbidden, "the API key %s was revoked", k.Name)
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return fault.New(fault.Forbidden, "the API key %s expired on %s", k.Name, k.ExpiresAt.Format(time.DateOnly))
	}
	return nil
}

// State is "good", or why a key may not be used: "revoked" or "expired".
func (k *Key) State(now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case k.Check(now) != nil:
		return "expired"
	}
	return "good"
}

// Store keeps keys. It is what the server needs of the database; the command line uses more. What does not exist is NotFound.
type Store interface {
	// CreateKey keeps a key under its secret's hash. A name that is in use is Conflict.
	CreateKey(ctx context.Context, k Key, hash string) error

	// KeyByHash finds a key, revoked and expired ones, too.
	KeyByHash(ctx context.Context, hash string) (Key, error)
	KeysOf(ctx context.Context, owner string) ([]Key, error) // one owner's, newest first
	// RevokeKeyOf revokes a key of an owner for good.
	RevokeKeyOf(ctx context.Context, owner, id string, now time.Time) error

	// UseKey notes that a key was used at a moment.
	UseKey(ctx context.Context, id string, now time.Time) error
}
