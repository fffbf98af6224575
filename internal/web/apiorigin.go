package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"realign/internal/fault"
)

// ParseOrigins checks origins of pages of other sites that may use the API, such as https://tools.example. The error is Invalid.
func ParseOrigins(list []string) ([]string, error) {
	for _, text := range list {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || text != u.Scheme+"://"+u.Host {
			return nil, fault.Field("api-origin", "%.80q is not like https://tools.example: a scheme and a host, without a path", text)
		}
	}
	return list, nil
}

// apiOrigins lets scripts of pages at the origins that were named use the API. They send keys and no cookies. Without such an
// origin nothing is answered to them.
func (s *Server) apiOrigins() echo.MiddlewareFunc {
	if len(s.origins) == 0 {
		return func(next echo.HandlerFunc) echo.HandlerFunc { return next }
	}
	return middleware.CORSWithConfig(middleware.CORSConfig{
		Skipper:       func(c echo.Context) bool { return !isAPI(c.Request()) },
		AllowOrigins:  s.origins,
		AllowMethods:  []string{http.MethodGet, http.MethodPost},
		AllowHeaders:  nil, // those that the page asks for: clients send headers about themselves
		ExposeHeaders: []string{"Retry-After", "X-Request-Id", sessionHeader},
		MaxAge:        600,
	})
}

// fromNamedOrigin reports whether a call of the API comes from a page of another site that may use it.
func (s *Server) fromNamedOrigin(r *http.Request) bool {
	return isAPI(r) && slices.Contains(s.origins, r.Header.Get("Origin"))
}

// isAPI reports whether a request is for the API: what apiRoutes serves.
func isAPI(r *http.Request) bool {
	path := r.URL.Path
	return strings.HasPrefix(path, "/v1/") || path == "/tokenize" || path == "/detokenize" || path == "/tokenizer_info"
}
