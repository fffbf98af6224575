package session

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"time"

	"realign/internal/fault"
)

// Comparison is a snapshot that was shared by a link.
type Comparison struct {
	ID        string    `json:"id"`
	Owner     string    `json:"-"`
	Run       string    `json:"run"` // it was made from; the run may be gone
	Title     string    `json:"title"`
	Prompt    string    `json:"prompt"` // its beginning, on one line
	Digest    string    `json:"digest"` // of the snapshot
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero is never
	RevokedAt time.Time `json:"revoked_at,omitzero"` // zero unless revoked
}

// Link is a comparison in the list of its owner.
type Link struct {
	Comparison
	Session string // that its run is in; "" once the run or the session is gone
}

// Open reports whether the link opens at a time.
func (c *Comparison) Open(now time.Time) bool {
	return c.RevokedAt.IsZero() && (c.ExpiresAt.IsZero() || now.Before(c.ExpiresAt))
}

// Shared keeps comparisons. What does not exist or is somebody else's is NotFound.
type Shared interface {
	// CreateComparison keeps a comparison under the hash of its token with the snapshot's canonical form.
	CreateComparison(ctx context.Context, c Comparison, tokenHash string, snapshot []byte) error

	// ComparisonByToken finds a comparison whatever its state; the caller asks Open.
	ComparisonByToken(ctx context.Context, tokenHash string) (Comparison, []byte, error)

	Comparison(ctx context.Context, owner, id string) (Comparison, []byte, error)

	// Comparisons lists an owner's, newest first, those that no longer open included.
	Comparisons(ctx context.Context, owner string) ([]Link, error)

	// UpdateComparison saves a comparison's title, expiry and revocation.
	UpdateComparison(ctx context.Context, c Comparison) error
}

// promptShown is how many characters of a prompt a list of links keeps.
const promptShown = 200

// Shelf shares comparisons.
type Shelf struct {
	Store interface {
		Shared
		Log
		Runs
	}
	Now func() time.Time
}

// Share freezes a run and returns the token of a new link to it: 128 random bits, shown here once and kept
// only as a hash. An empty title is made from the prompt. A zero expiry is never; one in the past is Invalid.
func (s *Shelf) Share(ctx context.Context, owner, runID, title string, expires time.Time) (Comparison, string, error) {
	now := s.Now().UTC().Truncate(time.Microsecond)
	run, err := s.Store.Run(ctx, owner, runID)
	if err != nil {
		return Comparison{}, "", err
	}
	if title == "" {
		title = TitleOf(run.Spec.Prompt)
	}
	if title, err = CleanTitle(title); err != nil {
		return Comparison{}, "", err
	}
	if err := checkExpiry(expires, now); err != nil {
		return Comparison{}, "", err
	}
	t, err := ReadTranscript(ctx, s.Store, run)
	if err != nil {
		return Comparison{}, "", err
	}
	snapshot, err := NewSnapshot(run, t, now)
	if err != nil {
		return Comparison{}, "", err
	}
	form, digest, err := snapshot.Canonical()
	if err != nil {
		return Comparison{}, "", err
	}
	c := Comparison{
		ID: NewID(), Owner: owner, Run: runID, Title: title, Prompt: beginning(snapshot.Prompt, promptShown), Digest: digest,
		CreatedAt: now, ExpiresAt: expires,
	}
	token := NewToken()
	if err := s.Store.CreateComparison(ctx, c, Digest([]byte(token)), form); err != nil {
		return Comparison{}, "", err
	}
	return c, token, nil
}

// errGone is the one answer to a token that does not open anything, whatever the reason.
var errGone = fault.New(fault.NotFound, "there is no comparison at this address; it may have been withdrawn or have expired")

// Open reads a comparison by its token. A wrong, an expired and a revoked token get the same error.
func (s *Shelf) Open(ctx context.Context, token string) (Comparison, *Snapshot, error) {
	if len(token) != TokenLength {
		return Comparison{}, nil, errGone
	}
	c, form, err := s.Store.ComparisonByToken(ctx, Digest([]byte(token)))
	if fault.KindOf(err) == fault.NotFound || err == nil && !c.Open(s.Now()) {
		return Comparison{}, nil, errGone
	}
	if err != nil {
		return Comparison{}, nil, err
	}
	return read(c, form)
}

// Get reads a comparison for its owner, whatever its state.
func (s *Shelf) Get(ctx context.Context, owner, id string) (Comparison, *Snapshot, error) {
	c, form, err := s.Store.Comparison(ctx, owner, id)
	if err != nil {
		return Comparison{}, nil, err
	}
	return read(c, form)
}

func read(c Comparison, form []byte) (Comparison, *Snapshot, error) {
	if Digest(form) != c.Digest {
		return Comparison{}, nil, fault.New(fault.Internal, "comparison %s does not match its digest", c.ID)
	}
	var snapshot Snapshot
	if err := json.Unmarshal(form, &snapshot); err != nil {
		return Comparison{}, nil, fault.Wrap(err, fault.Internal, "comparison %s cannot be read", c.ID)
	}
	return c, &snapshot, nil
}

// List is an owner's comparisons, newest first.
func (s *Shelf) List(ctx context.Context, owner string) ([]Link, error) {
	return s.Store.Comparisons(ctx, owner)
}

// Revoke closes a link for good. Doing it twice changes nothing.
func (s *Shelf) Revoke(ctx context.Context, owner, id string) error {
	c, _, err := s.Store.Comparison(ctx, owner, id)
	if err != nil || !c.RevokedAt.IsZero() {
		return err
	}
	c.RevokedAt = s.Now()
	return s.Store.UpdateComparison(ctx, c)
}

// Expire sets when a link stops to open; zero is never. It is a Conflict when it was revoked.
func (s *Shelf) Expire(ctx context.Context, owner, id string, at time.Time) error {
	c, _, err := s.Store.Comparison(ctx, owner, id)
	if err != nil {
		return err
	}
	if !c.RevokedAt.IsZero() {
		return fault.New(fault.Conflict, "this link was revoked")
	}
	if err := checkExpiry(at, s.Now()); err != nil {
		return err
	}
	c.ExpiresAt = at
	return s.Store.UpdateComparison(ctx, c)
}

func checkExpiry(at, now time.Time) error {
	if !at.IsZero() && !at.After(now) {
		return fault.Field("expires_at", "%s is in the past", at.UTC().Format(time.RFC3339))
	}
	return nil
}

// TokenLength is that of 128 bits in base64url.
const TokenLength = 22

// NewToken is the secret of a link: 128 random bits. Only its Digest is kept.
func NewToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}
