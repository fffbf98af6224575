package worker

import (
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"realign/internal/fault"
)

// Credentials of the embedded server.
const (
	ownUser  = "realign" // of our children, with a password made up at each start, and permissions like other workers
	minToken = 16        // bytes
)

// embedded is a NATS server in this process.
type embedded struct {
	server *server.Server // runs from embed until the pool shuts it down
	own    string         // URL of our pool, which may do everything
	child  string         // URL of our children, with the fingerprint of the certificate if there is one
	pin    string         // fingerprint of a certificate that it has signed itself; "" for another's, or none
}

// embed starts a NATS server: on a port of the loopback interface, for our own children, or, over TLS, at the address that
// others may join at with the token. With a data folder it has JetStream too.
func embed(c *Config) (*embedded, error) {
	host, port, err := c.listen()
	if err != nil {
		return nil, err
	}
	known := authenticator{server: rand.Text(), child: rand.Text(), log: c.Log}
	options := &server.Options{
		ServerName: "realign-" + rand.Text()[:8], Host: host, Port: port,
		NoSigs: true, NoLog: true, MaxPayload: maxPayload, MaxPending: 256 << 20,
	}
	e, childPassword := &embedded{}, known.child
	// A server that others can reach speaks TLS with all. A certificate of its own making is known by its pin, one that was
	// given by whoever signed it.
	if c.Listen != "" {
		shown, err := c.certificate()
		if err != nil {
			return nil, err
		}
		options.TLS, options.TLSTimeout = true, 5 // seconds
		options.TLSConfig = &tls.Config{Certificates: []tls.Certificate{shown}, MinVersion: tls.VersionTLS12}
		pin := fingerprint(shown.Certificate[0])
		childPassword += pinMark + pin
		if c.TLSCert == "" {
			e.pin = pin
		}
		known.token = c.Token
	}
	options.CustomClientAuthentication = known
	if c.Data != "" {
		options.JetStream = true
		options.StoreDir = filepath.Join(c.Data, "nats")
		options.JetStreamMaxMemory = 64 << 20
		options.JetStreamMaxStore = 4 << 30
	}
	if e.server, err = server.NewServer(options); err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	e.server.Start()
	if !e.server.ReadyForConnections(10 * time.Second) {
		e.server.Shutdown()
		return nil, fault.New(fault.Unavailable, "the embedded NATS server does not start (its data is in %s)", options.StoreDir)
	}
	at := e.server.Addr().(*net.TCPAddr)
	// Our own processes come by loopback, whatever address is listened at.
	if at.IP.IsUnspecified() {
		at.IP = net.IPv4(127, 0, 0, 1)
	}
	as := func(user, password string) string {
		where := url.URL{Scheme: "nats", User: url.UserPassword(user, password), Host: at.String()}
		return where.String()
	}
	e.own, e.child = as(serverUser, known.server), as(ownUser, childPassword)
	return e, nil
}

// listen is where the embedded server listens. Whoever may join shows a token that is no word.
func (c *Config) listen() (host string, port int, err error) {
	if c.Listen == "" {
		return "127.0.0.1", server.RANDOM_PORT, nil
	}
	switch n := len(c.Token); {
	case n == 0:
		return "", 0, fault.Field("nats_listen", "needs a token that workers show: REALIGN_NATS_TOKEN, or --nats-token-file")
	case strings.Contains(c.Token, pinMark):
		return "", 0, fault.Field("nats_token", "is one that was made for workers: the server needs the secret before %s", pinMark)
	case n < minToken:
		return "", 0, fault.Field("nats_token", "has %d bytes, at least %d are needed", n, minToken)
	}
	// NATS would only fall silent where it cannot listen.
	l, err := net.Listen("tcp", c.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", 0, fault.New(fault.Unavailable, "another program listens at %s already: stop it, or choose another address with --nats-listen", c.Listen)
	}
	if err != nil {
		return "", 0, fault.Field("nats_listen", "cannot listen at %s: %v", c.Listen, err)
	}
	defer l.Close()
	host, _, err = net.SplitHostPort(c.Listen)
	if host == "" {
		host = "0.0.0.0"
	}
	return host, l.Addr().(*net.TCPAddr).Port, err
}

// same compares secrets without telling by its time where they differ.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
