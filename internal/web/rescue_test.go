package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

// burst panics where the log should say that it did.
func burst(echo.Context) error { panic("out of order") }

func TestPanicIsLoggedWithItsStack(t *testing.T) {
	w := newWorld(t, setup{})
	e := echo.New()
	c := e.NewContext(httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder())
	err := w.rescue(burst)(c)
	if err == nil {
		t.Fatal("no error")
	}
	w.handleError(err, c)
	if log := w.logs.String(); !strings.Contains(log, "panic: out of order") || !strings.Contains(log, "web.burst(") {
		t.Errorf("the log does not say where: %s", log)
	}
	if _, status := outside(err); status != http.StatusInternalServerError {
		t.Errorf("status %d", status)
	}
}
