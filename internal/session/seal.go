package session

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Signer signs what this server has decoded, with an Ed25519 key of its own (RFC 8032).
type Signer struct{ key ed25519.PrivateKey }

// SignerSeed is how many random bytes a Signer is made of.
const SignerSeed = ed25519.SeedSize

// NewSigner makes a signer of its seed, SignerSeed random bytes.
func NewSigner(seed []byte) (*Signer, error) {
	if len(seed) != SignerSeed {
		return nil, fault.New(fault.Internal, "the signing key has %d bytes, not %d", len(seed), SignerSeed)
	}
	return &Signer{ed25519.NewKeyFromSeed(seed)}, nil
}

// Key is the public key, in base64. That of no signer is "".
func (s *Signer) Key() string {
	if s == nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(s.key.Public().(ed25519.PublicKey))
}

// Seal says that a server has decoded a run: the digest of all that a comparison of it shows, signed.
type Seal struct {
	Digest    string `json:"digest"`    // SHA-256, hexadecimal, as Snapshot.sealed has it
	Key       string `json:"key"`       // the server's public key, base64
	Signature string `json:"signature"` // of sealWords and the digest, base64
}

// sealWords come before the digest in what is signed, so that the signature is of nothing else.
const sealWords = "realign decoded run v1 "

// seal signs a digest; a nil signer makes no seal.
func (s *Signer) seal(digest string) *Seal {
	if s == nil {
		return nil
	}
	signature := ed25519.Sign(s.key, []byte(sealWords+digest))
	return &Seal{Digest: digest, Key: s.Key(), Signature: base64.StdEncoding.EncodeToString(signature)}
}

// signs reports whether the seal is the holder of its key's word on this digest.
func (s *Seal) signs(digest string) bool {
	key, errKey := base64.StdEncoding.DecodeString(s.Key)
	signature, errSignature := base64.StdEncoding.DecodeString(s.Signature)
	return errKey == nil && errSignature == nil && len(key) == ed25519.PublicKeySize && s.Digest == digest &&
		ed25519.Verify(key, []byte(sealWords+digest), signature)
}

// Origin is what is known of where a run was decoded.
type Origin string

const (
	DecodedHere Origin = "here"     // by this server: its own signature says so
	Signed      Origin = "signed"   // imported, with the signature of another server's key
	Unsigned    Origin = "unsigned" // imported without a signature
	Altered     Origin = "altered"  // imported with a signature that is of something else
	Unknown     Origin = "unknown"  // made before servers signed
)

// origin judges a seal, which may be nil, over a digest.
func (s *Signer) origin(seal *Seal, digest string) Origin {
	switch {
	case seal == nil:
		return Unsigned
	case !seal.signs(digest):
		return Altered
	case s != nil && seal.Key == s.Key():
		return DecodedHere
	}
	return Signed
}

// Imported is kept of a run that came in a file.
type Imported struct {
	Found Origin `json:"found"` // when it was imported
	Seal  *Seal  `json:"seal,omitempty"`
}

// Origin is what the snapshot's seal says now, signer being this server's.
func (s *Snapshot) Origin(signer *Signer) (Origin, error) {
	if s.Seal == nil && !s.Imported {
		return Unknown, nil
	}
	if s.Seal == nil {
		return Unsigned, nil
	}
	digest, err := s.sealed(s.laneDigests())
	if err != nil {
		return "", err
	}
	return signer.origin(s.Seal, digest), nil
}

// sealedLane is a lane in the form that is digested: its tokens by the digest of them.
type sealedLane struct {
	decode.Lane
	Text        string        `json:"text"`
	Reason      string        `json:"reason"`
	Error       *decode.Error `json:"error,omitempty"`
	KLReference float64       `json:"kl_reference"`
	KLAligned   []float64     `json:"kl_aligned,omitempty"`
	Exact       *decode.Exact `json:"exact,omitempty"`
	Tokens      string        `json:"tokens"`
}

// sealed is the digest that is signed: the hexadecimal SHA-256 of the snapshot's canonical form without when it was made
// and where it is from, in which the tokens of a lane are the digest of their canonical forms, a line each. So it can be
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
	b, err := canonical(form)
	if err != nil {
		return "", err
	}
	return Digest(b), nil
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

func (d *laneDigest) add(t *Token) error {
	if d.sum == nil {
		d.sum = sha256.New()
	}
	form, err := canonical(t)
	if err == nil {
		_, _ = d.sum.Write(append(form, '\n')) // never fails
	}
	return err
}

func (d *laneDigest) String() string {
	if d.sum == nil {
		return Digest(nil)
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

// canonical is a value as JSON without HTML escapes.
func canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the run cannot be written as JSON")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
