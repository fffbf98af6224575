package share

import (
	"context"
	"time"

	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/run"
	"realign/internal/title"
)

// LinkKind says what a link opens.
type LinkKind string

// What can be shared: a run as a comparison, the results of a study, and a sweep with its ticket.
const (
	ComparisonLink LinkKind = "comparison"
	ResultsLink    LinkKind = "results"
	SweepLink      LinkKind = "sweep"
)

// Link shares a snapshot of something. The snapshot never changes; the link can expire and be revoked. Its token is no part
// of it: the store keeps a hash of it.
type Link struct {
	ID        string
	Owner     string // who made it; nobody else can list, change or revoke it
	Kind      LinkKind
	Subject   string // id of the run, study or sweep that the snapshot was taken of; it may be gone
	Title     string // shown above the snapshot and in the owner's list
	Prompt    string // its beginning, on one line; "" of a study
	Digest    string // of the snapshot: the hexadecimal SHA-256 of its bytes as stored
	CreatedAt time.Time
	ExpiresAt time.Time // zero is never
	RevokedAt time.Time // zero unless revoked

	// VerifiedAt is when the snapshot was last decoded again, by this server, and came out as it is shown; zero if never.
	VerifiedAt time.Time
}

// Listed is a link in the list of its owner.
type Listed struct {
	Link
	Session string // that its run is in; "" once the run or the session is gone
}

// Open reports whether the link opens at a time.
func (l *Link) Open(now time.Time) bool {
	return l.RevokedAt.IsZero() && (l.ExpiresAt.IsZero() || now.Before(l.ExpiresAt))
}

// Links keeps links. What does not exist or is somebody else's is NotFound.
type Links interface {
	// CreateLink keeps a link under the hash of its token with the snapshot's CanonicalJSON form.
	CreateLink(ctx context.Context, l Link, tokenHash string, snapshot []byte) error

	// LinkByToken finds a link whatever its state; the caller asks Open.
	LinkByToken(ctx context.Context, tokenHash string) (Link, []byte, error)

	// Link finds an owner's link with its snapshot, whatever its state.
	Link(ctx context.Context, owner, id string) (Link, []byte, error)

	// Links lists an owner's, newest first, those that no longer open included.
	Links(ctx context.Context, owner string) ([]Listed, error)

	// UpdateLink saves a link's title, expiry and revocation, and when it was verified.
	UpdateLink(ctx context.Context, l Link) error
}

// Service shares snapshots. It has no state of its own: several goroutines may use it at once.
type Service struct {
	Store interface {
		Links
		run.Log
		run.Runs
	}
	Now    func() time.Time // the time; must be set
	Signer *run.Signer      // this server's; nil leaves what it decodes unsigned
}

// Create freezes a snapshot, in its CanonicalJSON form, behind a new link and returns its token: 128 random bits, shown
// here once and kept only as a hash. Owner, kind, subject, title, prompt and expiry are the caller's. A zero
// expiry is never; one in the past is Invalid.
func (s *Service) Create(ctx context.Context, l Link, snapshot []byte) (Link, string, error) {
	now := s.now()
	if err := checkExpiry(l.ExpiresAt, now); err != nil {
		return Link{}, "", err
	}
	var err error
	if l.Title, err = title.Clean(l.Title); err != nil {
		return Link{}, "", err
	}
	l.ID, l.Digest, l.CreatedAt = id.New(), id.Digest(snapshot), now
	token := id.NewToken()
	if err := s.Store.CreateLink(ctx, l, id.Digest([]byte(token)), snapshot); err != nil {
		return Link{}, "", err
	}
	return l, token, nil
}

// now is the time as the store keeps it: UTC, in microseconds.
func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// Find reads what a token opens, if it is of a kind. A wrong, an expired and a revoked token get the same error.
func (s *Service) Find(ctx context.Context, kind LinkKind, token string) (Link, []byte, error) {
	gone := fault.New(fault.NotFound, "there %s at this address; it may have been withdrawn or have expired", kind.missing())
	if len(token) != id.TokenLength {
		return Link{}, nil, gone
	}
	l, snapshot, err := s.Store.LinkByToken(ctx, id.Digest([]byte(token)))
	if fault.KindOf(err) == fault.NotFound || err == nil && (l.Kind != kind || !l.Open(s.Now())) {
		return Link{}, nil, gone
	}
	if err == nil && id.Digest(snapshot) != l.Digest {
		err = fault.New(fault.Internal, "link %s does not match its digest", l.ID)
	}
	return l, snapshot, err
}

// missing says, for an error, that what a link opens is not there.
func (k LinkKind) missing() string {
	switch k {
	case ResultsLink:
		return "are no results"
	case SweepLink:
		return "is no sweep"
	}
	return "is no comparison"
}

// List is an owner's links, newest first.
func (s *Service) List(ctx context.Context, owner string) ([]Listed, error) {
	return s.Store.Links(ctx, owner)
}

// Revoke closes a link for good. Doing it twice changes nothing. A link that does not exist or is somebody else's
// is NotFound.
func (s *Service) Revoke(ctx context.Context, owner, id string) error {
	l, _, err := s.Store.Link(ctx, owner, id)
	if err != nil || !l.RevokedAt.IsZero() {
		return err
	}
	l.RevokedAt = s.Now()
	return s.Store.UpdateLink(ctx, l)
}

// Expire sets when a link stops to open; zero is never, a time that has passed is Invalid. It is a Conflict when
// the link was revoked.
func (s *Service) Expire(ctx context.Context, owner, id string, at time.Time) error {
	l, _, err := s.Store.Link(ctx, owner, id)
	if err != nil {
		return err
	}
	if !l.RevokedAt.IsZero() {
		return fault.New(fault.Conflict, "this link was revoked")
	}
	if err := checkExpiry(at, s.Now()); err != nil {
		return err
	}
	l.ExpiresAt = at
	return s.Store.UpdateLink(ctx, l)
}

// checkExpiry refuses a time that is not after now; zero, which is never, passes.
func checkExpiry(at, now time.Time) error {
	if !at.IsZero() && !at.After(now) {
		return fault.Field("expires_at", "%s is in the past", at.UTC().Format(time.RFC3339))
	}
	return nil
}
