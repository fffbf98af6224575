package id

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// New is an identifier nobody else has and nobody can guess: 80 random bits, fit for an address.
func New() string { return strings.ToLower(rand.Text()[:16]) }

// TokenLength is that of 128 bits in base64url.
const TokenLength = 22

// NewToken is the secret of a link: 128 random bits. Only its Digest is kept.
func NewToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Digest is the hexadecimal SHA-256 of bytes.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
