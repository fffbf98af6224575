package worker

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"realign/internal/fault"
)

// embed starts a NATS server in this process, for our own children: on a port of the loopback interface,
// behind a password made up now. With a data folder it has JetStream too. The URL holds the password.
func embed(data string) (*server.Server, string, error) {
	user, password := "realign", rand.Text()
	options := &server.Options{
		ServerName: "realign-" + rand.Text()[:8], Host: "127.0.0.1", Port: server.RANDOM_PORT,
		Username: user, Password: password, NoSigs: true, NoLog: true, MaxPayload: maxPayload,
		MaxPending: 256 << 20,
	}
	if data != "" {
		options.JetStream = true
		options.StoreDir = filepath.Join(data, "nats")
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
	where := url.URL{Scheme: "nats", User: url.UserPassword(user, password), Host: s.Addr().String()}
	return s, where.String(), nil
}
