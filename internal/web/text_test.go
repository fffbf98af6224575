package web

import (
	"net/http"
	"strings"
	"testing"
)

// TestNoText: what is no text is refused wherever it comes in, and its field is named.
func TestNoText(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	made := p.ran(nil)
	for _, odd := range []string{"%00", "a%00b", "%ff", "%c3%28", "%ed%a0%80"} {
		for _, path := range []string{
			"/s/" + odd, "/sessions?q=" + odd, "/c/" + odd, "/r/" + odd, "/rate/" + odd, "/pairs/" + odd, "/studies/" + odd, "/login?next=" + odd,
			"/sessions?" + odd + "=x", "/" + odd, "/static/" + odd, "/runs/" + odd + "/map", "/sessions/" + odd + "/export",
		} {
			if answer, body := p.do("GET", path, nil, "Accept", "application/json"); answer.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"invalid"`) {
				t.Errorf("GET %s: %d %.200s", path, answer.StatusCode, body)
			}
		}
		for path, field := range map[string]string{
			"/login": "password", "/sessions/" + made.Session + "/rename": "title", "/runs/" + made.Run + "/share": "title", "/rate/x/join": "name", "/rate/x/answer": "comment", "/studies": "title",
		} {
			form := "_csrf=" + p.csrf + "&" + field + "=" + odd
			answer, body := p.do("POST", path, strings.NewReader(form), "Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json")
			if answer.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"field":"`+field+`"`) {
				t.Errorf("POST %s %s=%s: %d %.200s", path, field, odd, answer.StatusCode, body)
			}
		}
	}
	if answer, _ := p.do("GET", "/sessions?q=%zz", nil); answer.StatusCode != http.StatusBadRequest {
		t.Errorf("a query that cannot be read: %d", answer.StatusCode)
	}
	p.get("/sessions?q=%F0%9F%99%82+%D8%B3%D9%84%D8%A7%D9%85", 200)
	k := p.dial()
	k.send(map[string]any{"type": "start", "ref": "1", "spec": map[string]any{"pair": "table", "prompt": "a\x00b"}})
	if e := k.want("error"); e.Code != "invalid" || !strings.Contains(e.Message, "U+0000") {
		t.Errorf("a frame: %+v", e)
	}
}

func TestZeroInJSON(t *testing.T) {
	for text, want := range map[string]bool{
		`{"a":"\u0000"}`: true, `{"a":"\\u0000"}`: false, `{"a":"\\\u0000"}`: true, `{"a":"\u00000"}`: true, `{"a":"\u0001"}`: false, `"\`: false, `"\u000`: false, ``: false,
	} {
		if zeroInJSON([]byte(text)) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
}
