package pair

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"realign/internal/decode"
	"realign/internal/fault"
)

// ManifestName is the file in a pair's folder that describes it.
const ManifestName = "pair.json"

const (
	maxManifest = 1 << 20 // bytes
	maxAligned  = 64      // models in one manifest
)

// Parse reads a manifest found in dir. Fields it does not know are left for later versions.
// The error is Invalid and names the field.
func Parse(data []byte, dir string) (*Pair, error) {
	if len(data) > maxManifest {
		return nil, fault.Field("manifest", "is larger than %d bytes", maxManifest)
	}
	p := Pair{Sampling: decode.DefaultSampling()}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fault.Field("manifest", "is not a pair manifest in JSON: %v", err)
	}
	p.Dir = dir
	if err := p.expand(); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	p.defaultFirst()
	return &p, nil
}

// Load reads the manifest of a folder. One that is not there is fs.ErrNotExist.
func Load(dir string) (*Pair, error) {
	f, err := os.Open(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, err
	}
	return Parse(data, dir)
}

// Manifest is the pair as a manifest: Parse of it is the same pair. Paths are written as they are, absolute or
// relative to the manifest.
func (p *Pair) Manifest() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// check wants what the pair says to be whole and of the right form; it looks at no file. The error is Invalid with
// the field.
func (p *Pair) check() error {
	if err := CheckName("name", p.Name); err != nil {
		return err
	}
	if err := checkFile("reference.file", p.Reference.File, p.Reference.SHA256); err != nil {
		return err
	}
	if err := checkInstall(p.Reference.Install); err != nil {
		return err
	}
	if len(p.Aligned) == 0 || len(p.Aligned) > maxAligned {
		return fault.Field("aligned", "a pair has 1 to %d aligned models, this one %d", maxAligned, len(p.Aligned))
	}
	seen := map[string]bool{RoleReference: true}
	defaults := 0
	for _, a := range p.Aligned {
		if err := CheckName("aligned.name", a.Name); err != nil {
			return err
		}
		if seen[a.Name] {
			return fault.Field("aligned.name", "%q is used twice, or is the word %q", a.Name, RoleReference)
		}
		seen[a.Name] = true
		if err := a.checkKind(); err != nil {
			return err
		}
		if a.Beta < 0 || math.IsNaN(a.Beta) || math.IsInf(a.Beta, 0) {
			return fault.Field("aligned.beta", "%v of %s is not a positive number", a.Beta, a.Name)
		}
		if math.IsNaN(a.Scale) || math.IsInf(a.Scale, 0) || a.Scale != 0 && a.Adapter == "" {
			return fault.Field("aligned.scale", "%v of %s is not the strength of an adapter", a.Scale, a.Name)
		}
		if a.Default {
			defaults++
		}
	}
	if defaults > 1 {
		return fault.Field("aligned.default", "only one aligned model can be the default")
	}
	if err := p.checkTemplate(); err != nil {
		return err
	}
	if err := p.Sampling.Validate(); err != nil {
		return fault.Field("sampling", "%v", err)
	}
	return nil
}

// checkFile wants an absolute path, or one that stays inside the manifest's folder, and a SHA-256 in hexadecimal or
// none.
func checkFile(field, file, sum string) error {
	if file == "" {
		return fault.Field(field, "is missing")
	}
	if !filepath.IsAbs(file) && !filepath.IsLocal(filepath.FromSlash(file)) {
		return fault.Field(field, "%.200q leaves the folder of the manifest", file)
	}
	if raw, err := hex.DecodeString(sum); sum != "" && (err != nil || len(raw) != 32) {
		return fault.Field("sha256", "%.80q is not a SHA-256 in hexadecimal", sum)
	}
	return nil
}

// checkInstall wants one line that a terminal can show as it is. Nothing runs it but people.
func checkInstall(command string) error {
	const most = 200
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if len(command) > most || strings.ContainsFunc(command, unprintable) {
		return fault.Field("reference.install", "%.80q is not one printable line of at most %d bytes", command, most)
	}
	return nil
}

// defaultFirst moves the aligned model that is the default to the front; the order of the others stays.
func (p *Pair) defaultFirst() {
	for i, a := range p.Aligned {
		if a.Default {
			copy(p.Aligned[1:i+1], p.Aligned[:i])
			p.Aligned[0] = a
		}
	}
}
