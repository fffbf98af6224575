package run

import (
	"crypto/ed25519"
	"encoding/base64"

	"realign/internal/fault"
)

// Signer signs what this server has decoded, with an Ed25519 key of its own (RFC 8032).
// It may be used by any goroutine; a nil one is a server that signs nothing.
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
	Digest    string `json:"digest"`    // SHA-256, hexadecimal, of what package share signs of a snapshot
	Key       string `json:"key"`       // the server's public key, base64
	Signature string `json:"signature"` // of sealWords and the digest, base64
}

// sealWords come before the digest in what is signed, so that the signature is of nothing else.
const sealWords = "realign decoded run v1 "

// Seal signs a digest; a nil signer makes no seal.
func (s *Signer) Seal(digest string) *Seal {
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

// Origin says what a seal, which may be nil, proves over a digest.
func (s *Signer) Origin(seal *Seal, digest string) Origin {
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
	Found Origin `json:"found"`          // when it was imported
	Seal  *Seal  `json:"seal,omitempty"` // as it came; nil without any
}
