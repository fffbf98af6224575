package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/web/static"
)

// staticFiles serves the built scripts and styles. An address with the content's hash in it never
// changes its meaning; the others are revalidated.
func (s *Server) staticFiles() (echo.HandlerFunc, error) {
	tags, packed := map[string]string{}, map[string][]byte{}
	files := static.FS()
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		tags[name] = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
		packed[name], err = pack(data)
		return err
	})
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the built-in files cannot be read")
	}
	return func(c echo.Context) error {
		name := path.Clean(c.Param("*"))
		tag, ok := tags[name]
		if !ok {
			return fault.New(fault.NotFound, "there is no such file")
		}
		h := c.Response().Header()
		h.Set("ETag", tag)
		if c.QueryParam("v") != "" && c.Request().URL.RequestURI() == static.Path(name) {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			h.Set("Cache-Control", "no-cache")
		}
		if !takesGzip(c.Request()) {
			http.ServeFileFS(c.Response(), c.Request(), files, name)
			return nil
		}
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
		http.ServeContent(c.Response(), c.Request(), name, time.Time{}, bytes.NewReader(packed[name]))
		return nil
	}, nil
}

// pack compresses what is sent again and again, once and as far as it goes.
func pack(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// takesGzip reports whether a client says that it takes gzip.
func takesGzip(r *http.Request) bool {
	accepted := r.Header.Get("Accept-Encoding")
	return strings.Contains(accepted, "gzip") && !strings.Contains(accepted, "gzip;q=0")
}
