package share

import (
	"context"
	"encoding/json"
	"time"

	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/run"
	"realign/internal/title"
)

// promptShown is how many characters of a prompt a list of links keeps.
const promptShown = 200

// Share freezes a run and returns a new link to it with the link's token (Create). An empty title is made from the
// prompt. It is a
// Conflict while the run is being decoded and when it has no token (NewSnapshot).
func (s *Service) Share(ctx context.Context, owner, runID, name string, expires time.Time) (Link, string, error) {
	r, err := s.Store.Run(ctx, owner, runID)
	if err != nil {
		return Link{}, "", err
	}
	if name == "" {
		name = title.Of(r.Spec.Prompt)
	}
	t, err := run.ReadTranscript(ctx, s.Store, r)
	if err != nil {
		return Link{}, "", err
	}
	snapshot, err := NewSnapshot(r, t, s.Signer, s.now())
	if err != nil {
		return Link{}, "", err
	}
	form, _, err := snapshot.Canonical()
	if err != nil {
		return Link{}, "", err
	}
	return s.Create(ctx, Link{
		Owner: owner, Kind: ComparisonLink, Subject: runID, Title: name, Prompt: title.Shorten(snapshot.Prompt, promptShown), ExpiresAt: expires,
	}, form)
}

// Open reads a comparison by its token. A wrong, an expired and a revoked token get the same error.
func (s *Service) Open(ctx context.Context, token string) (Link, *Snapshot, error) {
	l, form, err := s.Find(ctx, ComparisonLink, token)
	if err != nil {
		return Link{}, nil, err
	}
	return read(l, form)
}

// Get reads a comparison for its owner, whatever its state. What is no comparison is NotFound.
func (s *Service) Get(ctx context.Context, owner, linkID string) (Link, *Snapshot, error) {
	l, form, err := s.Store.Link(ctx, owner, linkID)
	if err == nil && l.Kind != ComparisonLink {
		err = fault.New(fault.NotFound, "there is no such comparison")
	}
	if err != nil {
		return Link{}, nil, err
	}
	if id.Digest(form) != l.Digest {
		return Link{}, nil, fault.New(fault.Internal, "comparison %s does not match its digest", l.ID)
	}
	return read(l, form)
}

// Verified notes that a comparison was decoded again and came out as it is shown.
func (s *Service) Verified(ctx context.Context, l Link) error {
	l.VerifiedAt = s.now()
	return s.Store.UpdateLink(ctx, l)
}

// read is a link with its snapshot, whose digest the caller has compared.
func read(l Link, form []byte) (Link, *Snapshot, error) {
	var snapshot Snapshot
	if err := json.Unmarshal(form, &snapshot); err != nil {
		return Link{}, nil, fault.Wrap(err, fault.Internal, "comparison %s cannot be read", l.ID)
	}
	return l, &snapshot, nil
}
