package web

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"realign/internal/fault"
)

func TestServeStopsWhenToldTo(t *testing.T) {
	w := newWorld(t, setup{})
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(l.Addr().String()); fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "--addr") {
		t.Errorf("a port in use: %v", err)
	}
	if _, err := Listen("127.0.0.1:none"); fault.KindOf(err) != fault.Invalid {
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
