package web

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"realign/internal/fault"
)

// Times of one connection. A verification is the longest answer; sockets have their own.
const (
	headerWait   = 10 * time.Second
	requestWait  = 2 * time.Minute
	answerWait   = verifyTime + time.Minute
	idleWait     = 2 * time.Minute
	shutdownWait = 2 * time.Second
)

// Certificate names the files of a certificate and its private key, both PEM. The zero value is no TLS.
type Certificate struct{ CertFile, KeyFile string }

// config reads the files; nil without. The error is Invalid.
func (c Certificate) config() (*tls.Config, error) {
	if c == (Certificate{}) {
		return nil, nil
	}
	if c.CertFile == "" || c.KeyFile == "" {
		return nil, fault.Field("tls-cert", "goes with --tls-key: give both or neither")
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fault.Field("tls-cert", "cannot be used with its key: %v", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// Listen opens the address to serve on, over TLS if there is a certificate. The error says what is wrong with it.
func Listen(addr string, certificate Certificate) (net.Listener, error) {
	config, err := certificate.config()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fault.New(fault.Unavailable, "another program listens at %s already: stop it, or choose another address with --addr", addr)
	}
	if err != nil {
		return nil, fault.Field("addr", "cannot listen at %s: %v", addr, err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	return l, nil
}

// Serve answers requests on a listener, which it closes, until ctx is done; then it lets answers under way
// finish for a few seconds. Sockets stay open: they are Close's.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	go holdMemory(s.ctx)
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerWait, ReadTimeout: requestWait, WriteTimeout: answerWait, IdleTimeout: idleWait,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	end := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.Background(), shutdownWait)
		defer cancel()
		err := server.Shutdown(late)
		if err != nil {
			err = errors.Join(err, server.Close())
		}
		stopped <- err
	})
	err := server.Serve(l)
	if end() || !errors.Is(err, http.ErrServerClosed) {
		return fault.Wrap(err, fault.Internal, "serving ended")
	}
	if err := <-stopped; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Internal, "the server did not stop cleanly")
	}
	return nil
}
