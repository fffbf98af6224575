package worker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"realign/internal/fault"
)

// A worker shows a token: the server's own, which is good for every pair, or one derived from it for one pair. Where the
// server's certificate is signed by nobody whom workers trust, the fingerprint of the certificate is part of what they are
// given, SECRET~sha256-HEX: they compare it and show only the secret.
const pinMark = "~sha256-"

// pairToken is the token for the workers of one pair (escaped). The server's cannot be computed from it.
func pairToken(token, pair string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("realign worker " + pair))
	return "pair-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:20]))
}

// PairToken makes the token for the workers of one pair from one that is good for all.
func PairToken(token, pair string) string {
	secret, pin, pinned := strings.Cut(token, pinMark)
	secret = pairToken(secret, escape(pair))
	if pinned {
		secret += pinMark + pin
	}
	return secret
}

// unpin takes the fingerprint off a token; "" is none.
func unpin(token string) (secret, pin string) {
	secret, pin, _ = strings.Cut(token, pinMark)
	return secret, pin
}

// fingerprint names a certificate.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// errPin is the error of a connection to a server with another certificate: see reach.
var errPin = errors.New("the certificate is not the one whose fingerprint is in the token")

// pinned is a configuration for clients that takes the certificates of these fingerprints and no others.
func pinned(pins []string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // by names and authorities: the certificate itself is known
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !slices.Contains(pins, fingerprint(s.PeerCertificates[0].Raw)) {
				return errPin
			}
			return nil
		},
	}
}

// certificate is what the embedded server shows to workers: that of the files in the configuration, or one that it signs
// itself, which is kept in the data folder, so that the fingerprint stays.
func (c *Config) certificate() (tls.Certificate, error) {
	if c.TLSCert != "" || c.TLSKey != "" {
		if c.TLSCert == "" || c.TLSKey == "" {
			return tls.Certificate{}, fault.Field("nats_tls_cert", "goes with --nats-tls-key: give both or neither")
		}
		made, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return made, fault.Field("nats_tls_cert", "cannot be used with its key: %v", err)
		}
		return made, nil
	}
	if c.Data == "" {
		text, err := selfSigned()
		if err != nil {
			return tls.Certificate{}, err
		}
		return tls.X509KeyPair(text, text)
	}
	path := filepath.Join(c.Data, "nats-tls.pem")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = selfSigned(); err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
	}
	if err != nil {
		return tls.Certificate{}, fault.Field("data", "the certificate for workers cannot be kept: %v", err)
	}
	made, err := tls.X509KeyPair(text, text)
	if err != nil {
		return made, fault.Field("data", "%s is damaged: remove it, and give workers the new token", path)
	}
	return made, nil
}

// selfSigned makes a certificate and its key, both PEM.
func selfSigned() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	about := x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "realign"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &about, &about, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), nil
}
