package pair

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"regexp"

	"realign/internal/decode"
	"realign/internal/fault"
)

// maxTemplate is the longest chat template, in bytes.
const maxTemplate = 1 << 20

// templateName is the form of the names of well-known chat templates; what has another is a file.
var templateName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`)

// checkTemplate checks what a manifest says in place of the models' chat template.
func (p *Pair) checkTemplate() error {
	if p.Template != "" && !templateName.MatchString(p.Template) {
		if err := checkFile("template", p.Template, ""); err != nil {
			return err
		}
	}
	return decode.CheckVariables("template_variables", p.TemplateVariables)
}

// ChatTemplate is what stands in place of the models' chat template: a source, or the name of a well-known one, or neither. The error is
// Invalid with the field template.
func (p *Pair) ChatTemplate() (source, name string, err error) {
	if p.Template == "" || templateName.MatchString(p.Template) {
		return "", p.Template, nil
	}
	f, err := os.Open(p.path(p.Template))
	if err != nil {
		return "", "", fault.Field("template", "cannot be read: %v", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTemplate+1))
	switch {
	case err != nil:
		return "", "", fault.Field("template", "cannot be read: %v", err)
	case len(data) > maxTemplate:
		return "", "", fault.Field("template", "is larger than %d bytes", maxTemplate)
	case len(data) == 0:
		return "", "", fault.Field("template", "is an empty file")
	}
	return string(data), "", nil
}

// RoleTemplate is the role of a chat template among what identifies a pair. It has a space, which no aligned model's name has.
const RoleTemplate = "chat template"

// TemplateDigest identifies the template and its variables, where the manifest has either: a name to be shown, and a SHA-256 in
// hexadecimal; "" where the models' own is used as it is.
func (p *Pair) TemplateDigest() (name, sum string, err error) {
	if p.Template == "" && len(p.TemplateVariables) == 0 {
		return "", "", nil
	}
	source, known, err := p.ChatTemplate()
	if err != nil {
		return "", "", err
	}
	variables, err := json.Marshal(p.TemplateVariables) // in the order of names
	if err != nil {
		return "", "", fault.Field("template_variables", "%v", err)
	}
	digest := sha256.Sum256([]byte(source + "\x00" + known + "\x00" + string(variables)))
	if name = p.Template; name == "" {
		name = "variables"
	}
	return name, hex.EncodeToString(digest[:]), nil
}
