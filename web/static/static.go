// Package static embeds the built scripts and styles. The sources beside it are TypeScript and CSS, one
// folder for each controller; `npm run build` writes them into dist/.
package static

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
)

//go:embed dist
var files embed.FS

// versions are the content hashes that Path puts into addresses, made once at start.
var versions = hash()

// FS holds the built files: "app.js", "app.css", "icon.svg". Serve it at /static/. What was asked for
// with a ?v= may be cached for ever.
func FS() fs.FS {
	sub, err := fs.Sub(files, "dist")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// Path is the address of a built file, with its content hash, so that it may be cached for ever.
func Path(name string) string {
	if v, ok := versions[name]; ok {
		return "/static/" + name + "?v=" + v
	}
	return "/static/" + name
}

// Text is a built file as text, for pages that carry their styles with them.
func Text(name string) (string, error) {
	b, err := fs.ReadFile(FS(), name)
	return string(b), err
}

// hash is a hash of each built file, by its name.
func hash() map[string]string {
	m := make(map[string]string)
	entries, _ := fs.ReadDir(FS(), ".")
	for _, e := range entries {
		b, err := fs.ReadFile(FS(), e.Name())
		if err != nil {
			continue
		}
		sum := sha256.Sum256(b)
		m[e.Name()] = base64.RawURLEncoding.EncodeToString(sum[:9])
	}
	return m
}
