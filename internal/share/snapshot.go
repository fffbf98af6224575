package share

import (
	"slices"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/run"
)

// SnapshotVersion is the version of the form below.
const SnapshotVersion = 1

// Snapshot is a run frozen for showing: everything a reader sees and everything needed to decode it again.
// Its CanonicalJSON form has its members in the order of the fields here, no space and no HTML escapes; the link's digest is the
// SHA-256 of those bytes. A member must not change its name or place: stored digests and seals would no longer match.
type Snapshot struct {
	Version        int              `json:"version"`    // SnapshotVersion, of what is made now
	CreatedAt      time.Time        `json:"created_at"` // UTC
	Build          string           `json:"build"`      // of the server that decoded it
	Pair           string           `json:"pair"`       // its name
	Aligned        []string         `json:"aligned"`    // names of the aligned models, in the order of a λ's numbers
	Files          []run.File       `json:"files"`      // of the reference and each aligned model, with their SHA-256
	Mode           run.Mode         `json:"mode"`       // chat, or a text to complete
	System         string           `json:"system,omitempty"`
	History        []decode.Message `json:"history,omitempty"`
	Prompt         string           `json:"prompt"`
	Special        bool             `json:"special,omitempty"`
	PromptTokens   []decode.Token   `json:"prompt_tokens"` // what the models made of the texts
	Contrast       *decode.Contrast `json:"contrast,omitempty"`
	Rendering      decode.Rendering `json:"rendering,omitzero"`
	AlignedPrompts [][]decode.Token `json:"aligned_prompts,omitempty"` // where an aligned model has another prompt; null is the reference's
	Sampling       decode.Sampling  `json:"sampling"`
	Seed           uint64           `json:"seed,string"`  // of the noise
	Alternatives   int              `json:"alternatives"` // how many most probable tokens the trace has for each token
	Lanes          []SnapshotLane   `json:"lanes"`
	Map            *SnapshotMap     `json:"map,omitempty"`      // instead of lanes
	Imported       bool             `json:"imported,omitempty"` // the run came in a file
	Seal           *run.Seal        `json:"seal,omitempty"`     // of the server that decoded it
}

// SnapshotLane is a lane as it ended.
type SnapshotLane struct {
	decode.Lane               // Changes holds every move of λ
	Text        string        `json:"text"`
	Reason      string        `json:"reason"`               // why it ended: one of decode.End…
	Error       *decode.Error `json:"error,omitempty"`      // nil unless it ended with an error
	KLReference float64       `json:"kl_reference"`         // KL of the mixture to the reference, Σ over its tokens, nats
	KLAligned   []float64     `json:"kl_aligned,omitempty"` // the same to each aligned model
	Exact       *decode.Exact `json:"exact,omitempty"`      // of a lane that was decoded by particles
	Tokens      []run.Token   `json:"tokens"`               // with their trace
}

// NewSnapshot freezes a run, with the seal of the server that decoded it; signer is this server's. It is a Conflict while a
// lane runs or when no token was decoded.
func NewSnapshot(r run.Run, t *run.Transcript, signer *run.Signer, now time.Time) (*Snapshot, error) {
	if !t.Done() {
		return nil, fault.New(fault.Conflict, "the run is still being decoded: share it when it has ended")
	}
	if m := t.Map; m != nil {
		if len(m.Branches) == 0 {
			return nil, fault.New(fault.Conflict, "this map has no branch")
		}
	} else if !slices.ContainsFunc(t.Lanes, func(l run.Lane) bool { return len(l.Tokens) > 0 }) {
		return nil, fault.New(fault.Conflict, "no lane of this run has any token")
	}
	s := freeze(&r.Spec, t)
	s.CreatedAt = now.UTC().Truncate(time.Microsecond)
	if r.Imported != nil {
		s.Imported, s.Seal = true, r.Imported.Seal
		return s, nil
	}
	digest, err := s.sealed(s.laneDigests())
	if err != nil {
		return nil, err
	}
	s.Seal = signer.Seal(digest)
	return s, nil
}

// freeze is the snapshot of a run without when it was made and where it is from. It shares its lists with the spec
// and the transcript.
func freeze(spec *run.Spec, t *run.Transcript) *Snapshot {
	s := &Snapshot{
		Version: SnapshotVersion, Build: spec.Build,
		Pair: spec.Pair, Aligned: spec.Aligned, Files: spec.Files,
		Mode: spec.Mode, System: spec.System, History: spec.History, Prompt: spec.Prompt, PromptTokens: t.Prompt,
		Special: spec.Special, Contrast: spec.Contrast, Rendering: spec.Rendering, AlignedPrompts: t.AlignedPrompts,
		Sampling: spec.Sampling, Seed: spec.Seed, Alternatives: spec.Alternatives,
	}
	if m := t.Map; m != nil {
		s.Map = &SnapshotMap{Map: *spec.Map, Reason: m.Reason, Error: m.Error, Continue: m.Branches, Forks: m.Forks}
	}
	for _, l := range t.Lanes {
		s.Lanes = append(s.Lanes, SnapshotLane{
			Lane: l.Lane, Text: l.Text, Reason: l.Reason, Error: l.Error,
			KLReference: l.KLReference, KLAligned: l.KLAligned, Exact: l.Exact, Tokens: l.Tokens,
		})
	}
	return s
}

// Canonical is the snapshot's CanonicalJSON form and the hexadecimal SHA-256 of it.
func (s *Snapshot) Canonical() (form []byte, digest string, err error) {
	if form, err = CanonicalJSON(s); err != nil {
		return nil, "", err
	}
	return form, id.Digest(form), nil
}

// Fork is the spec that decodes the snapshot's run anew, to be changed at will.
// Build, seal and files are not in it.
func (s *Snapshot) Fork() run.Spec {
	spec := run.Spec{
		Pair: s.Pair, Aligned: slices.Clone(s.Aligned), System: s.System, Prompt: s.Prompt, Mode: s.Mode,
		History: slices.Clone(s.History), Sampling: s.Sampling, Seed: s.Seed, Alternatives: s.Alternatives,
		Special: s.Special, Contrast: s.Contrast, Rendering: s.Rendering,
	}
	if s.Map != nil {
		mapped := s.Map.Map
		spec.Map = &mapped
	}
	for _, l := range s.Lanes {
		lane := l.Lane
		lane.Changes = slices.Clone(lane.Changes)
		lane.Prefix = slices.Clone(lane.Prefix)
		spec.Lanes = append(spec.Lanes, lane)
	}
	return spec
}
