package web

import (
	"crypto/sha256"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/web/static"
)

// staticFiles serves the built scripts and styles. An address with the content's hash in it never
// changes its meaning; the others are revalidated.
func (s *Server) staticFiles() (echo.HandlerFunc, error) {
	tags := map[string]string{}
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
		return nil
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
		http.ServeFileFS(c.Response(), c.Request(), files, name)
		return nil
	}, nil
}
