package web

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/labstack/echo/v4"

	"realign/web/templates"
)

// toastCookie carries what a form has done to the page that the browser is sent to next.
const toastCookie = "realign_toast"

// toast is a message that the next page shows once, with what it offers.
type toast struct {
	Text  string `json:"text"`
	Undo  string `json:"undo,omitempty"`  // path
	Share string `json:"share,omitempty"` // id of a share link just made
	Token string `json:"token,omitempty"` // and its token
}

// leaveToast has the next page show a message.
func (s *Server) leaveToast(c echo.Context, t toast) {
	b, err := json.Marshal(t)
	if err != nil {
		return // strings always encode
	}
	c.SetCookie(s.cookie(c, toastCookie, base64.RawURLEncoding.EncodeToString(b), time.Minute))
}

// takeToast reads the cookie and removes it. The cookie could be forged by whoever controls the browser
// only; the page escapes it like any text.
func (s *Server) takeToast(c echo.Context) *templates.Toast {
	t, ok := s.readToast(c)
	if !ok || t.Text == "" {
		return nil
	}
	return &templates.Toast{Text: t.Text, Undo: t.Undo}
}

// readToast is the message that was left, which no later request finds; ok is false for none. Asked again in one
// request it answers the same.
func (s *Server) readToast(c echo.Context) (toast, bool) {
	if t, ok := c.Get(toastCookie).(toast); ok {
		return t, true
	}
	value := s.cookieValue(c.Request(), toastCookie)
	if value == "" {
		return toast{}, false
	}
	var t toast
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || json.Unmarshal(b, &t) != nil {
		return toast{}, false
	}
	if t.Undo != "" {
		t.Undo = localPath(t.Undo)
	}
	if !c.Response().Committed {
		gone := s.cookie(c, toastCookie, "", 0)
		gone.MaxAge = -1
		c.SetCookie(gone)
	}
	c.Set(toastCookie, t)
	return t, true
}
