package web

import (
	"bytes"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/labstack/echo/v4"
	"golang.org/x/net/html"

	"realign/internal/fault"
)

// A server below a path of a host has one setting that says so, and believes no header about it: cookies, links that are kept and
// given away and the addresses in pages must not depend on what a request says. The proxy passes addresses on as they are.
//
// Inside, everything is written as if the server were at the root: templates, handlers and redirects. What leaves it is prefixed
// in one place for each way out: attributes of pages here, the header Location in the middleware below, addresses in JSON by at.
// Scripts read the path from the attribute data-base of the page.

// basePath is a path such as /realign, without a slash at its end; "" is the root.
type basePath string

// parseBase checks a path. The error is Invalid.
func parseBase(text string) (basePath, error) {
	text = strings.TrimSuffix(text, "/")
	if text == "" {
		return "", nil
	}
	if !strings.HasPrefix(text, "/") || path.Clean(text) != text || !regexp.MustCompile(`^[A-Za-z0-9._~/-]+$`).MatchString(text) {
		return "", fault.Field("base-path", "%.80q is not like /realign: letters, digits, -, ., _, ~ and slashes", text)
	}
	return basePath(text), nil
}

// at is the address of a path of ours.
func (b basePath) at(address string) string {
	if b == "" || !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//") {
		return address
	}
	return string(b) + address
}

// probed are the addresses that probes on the machine ask, below the path or not.
var probed = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// serve takes the path off the addresses of requests. What is not below it is not ours.
func (b basePath) serve(next http.Handler) http.Handler {
	if b == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, below := strings.CutPrefix(r.URL.Path, string(b))
		switch {
		case below && strings.HasPrefix(rest, "/"):
			inner := new(http.Request)
			*inner = *r
			inner.URL = new(url.URL)
			*inner.URL = *r.URL
			inner.URL.Path, inner.URL.RawPath = rest, strings.TrimPrefix(r.URL.RawPath, string(b))
			inner.RequestURI = strings.TrimPrefix(r.RequestURI, string(b))
			next.ServeHTTP(w, inner)
		case probed[r.URL.Path]:
			next.ServeHTTP(w, r)
		case below && rest == "" || r.URL.Path == "/":
			http.Redirect(w, r, string(b)+"/", http.StatusSeeOther)
		default:
			http.Error(w, "there is nothing here: the pages are below "+string(b)+"/", http.StatusNotFound)
		}
	})
}

// redirects prefixes the addresses of redirects.
func (b basePath) redirects(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Before(func() {
			if to := c.Response().Header().Get("Location"); to != "" {
				c.Response().Header().Set("Location", b.at(to))
			}
		})
		return next(c)
	}
}

// addressed are the attributes of pages that hold addresses.
var addressed = map[string]bool{
	"href": true, "src": true, "action": true, "formaction": true,
	"data-comparison": true, "data-rate": true, "data-results": true, "data-map-lanes": true, "data-sweep-live": true,
}

// page prefixes the addresses in a page, or in a part of one.
func (b basePath) page(page []byte) []byte {
	if b == "" {
		return page
	}
	var out bytes.Buffer
	tokens := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := tokens.Next()
		if kind == html.ErrorToken {
			return append(out.Bytes(), tokens.Raw()...)
		}
		raw := bytes.Clone(tokens.Raw())
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			out.Write(raw)
			continue
		}
		token := tokens.Token()
		changed := token.Data == "html"
		if changed {
			token.Attr = append(token.Attr, html.Attribute{Key: "data-base", Val: string(b)})
		}
		for i := range token.Attr {
			if a := &token.Attr[i]; addressed[a.Key] && b.at(a.Val) != a.Val {
				a.Val, changed = b.at(a.Val), true
			}
		}
		if changed {
			out.WriteString(token.String())
		} else {
			out.Write(raw)
		}
	}
}
