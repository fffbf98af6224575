package web

import (
	"net/http/httptest"
	"testing"
	"time"
)

// A call may take longer than a request may take to arrive and a page to be sent.
func TestAPICallsOutlastTheServersTimes(t *testing.T) {
	w := newWorld(t, setup{delay: 25 * time.Millisecond})
	short := httptest.NewUnstartedServer(w.Server)
	short.Config.ReadTimeout, short.Config.WriteTimeout = time.Second, 1200*time.Millisecond
	short.Config.IdleTimeout = time.Minute // connections are used again
	short.Start()
	defer short.Close()
	whole := w.http
	w.http = short
	defer func() { w.http = whole }() // which the world closes
	const body = `{"model":"table@0.5","prompt":"abc","max_tokens":60,"ignore_eos":true,"seed":1`
	w.call("/v1/completions", body+`}`, 200, nil)
	if data, _ := w.stream(body+`,"stream":true}`, "/v1/completions"); data[len(data)-1] != "[DONE]" || len(data) < 30 {
		t.Errorf("the stream ends after %d messages", len(data))
	}
}
