package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"realign/internal/fault"
)

func TestServeStopsWhenToldTo(t *testing.T) {
	w := newWorld(t, setup{})
	l, err := Listen("127.0.0.1:0", Certificate{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(l.Addr().String(), Certificate{}); fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "--addr") {
		t.Errorf("a port in use: %v", err)
	}
	if _, err := Listen("127.0.0.1:none", Certificate{}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("no port: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Serve(ctx, l) }()
	answer, err := http.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil || answer.StatusCode != 200 {
		t.Errorf("%v %v", answer, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestListenTLS: over TLS the pages are secure without anybody saying so.
func TestListenTLS(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	signed, err := x509.CreateCertificate(rand.Reader, &about, &about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := Certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	for name, block := range map[string]*pem.Block{files.CertFile: {Type: "CERTIFICATE", Bytes: signed}, files.KeyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, bad := range map[string]Certificate{"no key": {CertFile: files.CertFile}, "exchanged": {files.KeyFile, files.CertFile}, "no file": {dir, dir}} {
		if _, err := Listen("127.0.0.1:0", bad); fault.Of(err) == nil || fault.Of(err).Field != "tls-cert" {
			t.Errorf("%s: %v", name, err)
		}
	}
	l, err := Listen("127.0.0.1:0", files)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Serve(ctx, l) }()
	roots := x509.NewCertPool()
	parsed, _ := x509.ParseCertificate(signed)
	roots.AddCert(parsed)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	answer, err := client.Get("https://" + l.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if len(answer.Cookies()) == 0 || !strings.HasPrefix(answer.Cookies()[0].Name, hostPrefix) || answer.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%d %v %v", answer.StatusCode, answer.Cookies(), answer.Header)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
