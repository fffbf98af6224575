package web

import (
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"

	"realign/internal/fault"
)

// jitter hides lengths of pages, in bytes. A page has a secret of its reader (the form token) and words from its address:
// without it, the length of the compressed page would tell, in many tries, how alike they are (BREACH).
const jitter = 32

// compress sends pages gzipped to clients that take them so. Streams, the socket, pictures and downloads go as they are, and
// scripts and styles as staticFiles packed them.
func compress(next http.Handler) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.MinSize(1024),
		gzhttp.CompressionLevel(8), // 9 takes 30 times as long on the page of a long run; scripts and styles come packed
		gzhttp.RandomJitter(jitter, 0, false),
		gzhttp.ContentTypes([]string{"text/html", "text/css", "text/javascript", "application/javascript", "image/svg+xml"}),
	)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "responses cannot be compressed")
	}
	compressed := wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" || strings.HasPrefix(r.URL.Path, "/v1/") {
			next.ServeHTTP(w, r)
			return
		}
		compressed.ServeHTTP(w, r)
	}), nil
}
