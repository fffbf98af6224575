package worker

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"realign/internal/fault"
)

const (
	ownUser  = "realign" // of our children, with a password made up at each start
	minToken = 16        // bytes
)

// embed starts a NATS server in this process: on a port of the loopback interface, for our own children, or at the address
// that others may join at with the token. With a data folder it has JetStream too. The URL is our children's and holds
// their password.
func embed(c *Config) (*server.Server, string, error) {
	host, port, err := c.listen()
	if err != nil {
		return nil, "", err
	}
	keys := door{password: rand.Text(), log: c.Log}
	if c.Listen != "" {
		keys.token = c.Token
	}
	options := &server.Options{
		ServerName: "realign-" + rand.Text()[:8], Host: host, Port: port,
		CustomClientAuthentication: keys, NoSigs: true, NoLog: true, MaxPayload: maxPayload,
		MaxPending: 256 << 20,
	}
	if c.Data != "" {
		options.JetStream = true
		options.StoreDir = filepath.Join(c.Data, "nats")
		options.JetStreamMaxMemory = 64 << 20
		options.JetStreamMaxStore = 4 << 30
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, "", fmt.Errorf("embedded NATS server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, "", fault.New(fault.Unavailable, "the embedded NATS server does not start (its data is in %s)", options.StoreDir)
	}
	at := s.Addr().(*net.TCPAddr)
	if at.IP.IsUnspecified() {
		at.IP = net.IPv4(127, 0, 0, 1)
	}
	where := url.URL{Scheme: "nats", User: url.UserPassword(ownUser, keys.password), Host: at.String()}
	return s, where.String(), nil
}

// listen is where the embedded server listens. Whoever may join shows a token that is no word.
func (c *Config) listen() (host string, port int, err error) {
	if c.Listen == "" {
		return "127.0.0.1", server.RANDOM_PORT, nil
	}
	switch n := len(c.Token); {
	case n == 0:
		return "", 0, fault.Field("nats_listen", "needs a token that workers show: REALIGN_NATS_TOKEN, or --nats-token-file")
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

// door lets in our children, who know the password, and others, who know the token. Without a token there are no others.
type door struct {
	password, token string
	log             *slog.Logger
}

// Check implements server.Authentication.
func (d door) Check(c server.ClientAuthentication) bool {
	shown := c.GetOpts()
	if shown.Username == ownUser && same(shown.Password, d.password) || d.token != "" && same(shown.Token, d.token) {
		return true
	}
	d.log.Warn("a worker was turned away: its token is another", "from", c.RemoteAddress())
	return false
}

// same compares secrets without telling by its time where they differ.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
