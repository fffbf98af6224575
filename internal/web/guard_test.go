package web

import (
	"fmt"
	"testing"
	"time"

	"realign/internal/fault"
)

func TestBindingPublicNeedsALogin(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:8080": true, "[::1]:8080": true, "127.9.9.9:1": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:80": false, "192.168.1.2:8080": false, "example.org:80": false,
	} {
		if err := CheckBind(addr, AuthNone); (err == nil) != ok {
			t.Errorf("%s without a login: %v", addr, err)
		}
		if err := CheckBind(addr, AuthPassword); err != nil {
			t.Errorf("%s with a login: %v", addr, err)
		}
	}
	if err := CheckBind("8080", AuthPassword); fault.KindOf(err) != fault.Invalid {
		t.Errorf("no port: %v", err)
	}
}

func TestLocalPath(t *testing.T) {
	for path, want := range map[string]string{
		"": "/", "/": "/", "/s/x?run=y": "/s/x?run=y", "//evil.example": "/", "/\\evil.example": "/",
		"https://evil.example": "/", "/a\r\nb": "/", "/\t/evil.example": "/", "\t//evil.example": "/", "/ /evil.example": "/",
		"javascript:alert(1)": "/", "evil.example": "/", "///evil.example": "/", "/s/ü?q=a%20b": "/s/ü?q=a%20b", "/%zz": "/",
	} {
		if got := localPath(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestLimiterForgetsNobodyWhoIsLimited(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLimiter(time.Second, 2, 3, func() time.Time { return now })
	for range 2 {
		if err := l.allow("a", "x"); err != nil {
			t.Fatal(err)
		}
	}
	if l.peek("a") || fault.KindOf(l.allow("a", "x")) != fault.Busy {
		t.Fatal("a third one at once was allowed")
	}
	for i := range 2 {
		_ = l.allow(fmt.Sprint(i), "x")
	}
	if fault.KindOf(l.allow("new", "x")) != fault.Busy {
		t.Error("more clients than may be remembered")
	}
	now = now.Add(1500 * time.Millisecond) // the two have filled up again, a has not
	if err := l.allow("new", "x"); err != nil {
		t.Error(err)
	}
	if err := l.allow("a", "x"); err != nil {
		t.Error(err)
	}
	if fault.KindOf(l.allow("a", "x")) != fault.Busy {
		t.Error("a was forgotten")
	}
}
