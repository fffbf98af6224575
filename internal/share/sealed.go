package share

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/run"
)

// Origin is what the snapshot's seal says now, signer being this server's.
func (s *Snapshot) Origin(signer *run.Signer) (run.Origin, error) {
	if s.Seal == nil && !s.Imported {
		return run.Unknown, nil
	}
	if s.Seal == nil {
		return run.Unsigned, nil
	}
	digest, err := s.sealed(s.laneDigests())
	if err != nil {
		return "", err
	}
	return signer.Origin(s.Seal, digest), nil
}

// sealedLane is a lane in the form that is digested: its tokens by the digest of them.
type sealedLane struct {
	decode.Lane
	Text        string        `json:"text"`
	Reason      string        `json:"reason"` // one of decode.End…
	Error       *decode.Error `json:"error,omitempty"`
	KLReference float64       `json:"kl_reference"` // nats, as in SnapshotLane
	KLAligned   []float64     `json:"kl_aligned,omitempty"`
	Exact       *decode.Exact `json:"exact,omitempty"`
	Tokens      string        `json:"tokens"` // what laneDigest.String returns
}

// sealed is the digest that is signed: the hexadecimal SHA-256 of the snapshot's CanonicalJSON form without when it was made
// and where it is from, in which the tokens of a lane are the digest of their CanonicalJSON forms, a line each. So it can be
// computed of a log as it is read, too. Members of Token, Snapshot and what they hold must not change their names or
// order, and new ones must be left out where they are empty.
func (s *Snapshot) sealed(lanes []string) (string, error) {
	form := struct {
		Snapshot
		Lanes []sealedLane `json:"lanes"`
	}{Snapshot: *s}
	form.CreatedAt, form.Imported, form.Seal = time.Time{}, false, nil
	form.PromptTokens, form.Aligned, form.Files = orEmpty(form.PromptTokens), orEmpty(form.Aligned), orEmpty(form.Files)
	for i := range s.Lanes {
		l := &s.Lanes[i]
		form.Lanes = append(form.Lanes, sealedLane{l.Lane, l.Text, l.Reason, l.Error, l.KLReference, l.KLAligned, l.Exact, lanes[i]})
	}
	b, err := CanonicalJSON(form)
	if err != nil {
		return "", err
	}
	return id.Digest(b), nil
}

// orEmpty is a list that is not nil, so that none and an empty one have one form.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// laneDigest digests the tokens of a lane, one after the other. The zero value is of none.
type laneDigest struct{ sum hash.Hash }

// add digests one more token: its CanonicalJSON form and a line feed.
func (d *laneDigest) add(t *run.Token) error {
	if d.sum == nil {
		d.sum = sha256.New()
	}
	form, err := CanonicalJSON(t)
	if err == nil {
		_, _ = d.sum.Write(append(form, '\n')) // never fails
	}
	return err
}

// String is the hexadecimal SHA-256 of the tokens so far.
func (d *laneDigest) String() string {
	if d.sum == nil {
		return id.Digest(nil)
	}
	return hex.EncodeToString(d.sum.Sum(nil))
}

// laneDigests are those of all lanes.
func (s *Snapshot) laneDigests() []string {
	list := make([]string, len(s.Lanes))
	for i := range s.Lanes {
		var d laneDigest
		for j := range s.Lanes[i].Tokens {
			if d.add(&s.Lanes[i].Tokens[j]) != nil {
				break // a form that cannot be digested matches no seal
			}
		}
		list[i] = d.String()
	}
	return list
}

// CanonicalJSON is a value as JSON without HTML escapes, white space and a line feed at the end. The error is
// Internal.
func CanonicalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the run cannot be written as JSON")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// LogDigest adds up a run's log to the digest that its seal signs. Tokens are digested as they come and then let go but for
// their number, so that a long run takes little memory. It is used by one goroutine, which applies events to Transcript and
// calls Update from time to time.
type LogDigest struct {
	Transcript *run.Transcript
	lanes      []laneDigest // by the lane's place in the transcript
	done       []int        // by lane: how many of its tokens are digested and cleared
	spec       *run.Spec    // of the run; only read
}

// NewLogDigest is the digest of a run of which nothing is decoded yet. The spec must not change while it is used.
func NewLogDigest(spec *run.Spec) *LogDigest {
	return &LogDigest{Transcript: run.NewTranscript(spec), spec: spec}
}

// Update digests the tokens that the transcript has got since the last call, and clears them.
func (s *LogDigest) Update() error {
	for len(s.lanes) < len(s.Transcript.Lanes) {
		s.lanes, s.done = append(s.lanes, laneDigest{}), append(s.done, 0)
	}
	for i := range s.Transcript.Lanes {
		lane := &s.Transcript.Lanes[i]
		for ; s.done[i] < len(lane.Tokens); s.done[i]++ {
			t := &lane.Tokens[s.done[i]]
			if err := s.lanes[i].add(t); err != nil {
				return err
			}
			*t = run.Token{}
		}
	}
	return nil
}

// Sum is the digest of the run as it is now: what Snapshot.sealed is of the same run. More may be added after it.
func (s *LogDigest) Sum() (string, error) {
	if err := s.Update(); err != nil {
		return "", err
	}
	digests := make([]string, len(s.lanes))
	for i := range s.lanes {
		digests[i] = s.lanes[i].String()
	}
	return freeze(s.spec, s.Transcript).sealed(digests)
}
