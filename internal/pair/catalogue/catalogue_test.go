package catalogue

import (
	"regexp"
	"strings"
	"testing"

	"realign/internal/fault"
)

func TestCatalogueIsSound(t *testing.T) {
	repository := regexp.MustCompile(`^[\w.-]+/[\w.-]+$`)
	name := regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`)
	seen := map[string]bool{}
	all := Pairs()
	if all[0].Name != "zephyr" || len(all[0].Presets) == 0 {
		t.Errorf("the first is %+v: it should be the paper's, with its notebook", all[0])
	}
	for _, p := range all {
		if !name.MatchString(p.Name) || seen[p.Name] || p.Title == "" || p.Licence == "" || p.Template == "" || p.Parameters < 1e8 || len(p.Aligned) == 0 {
			t.Errorf("%+v", p)
		}
		seen[p.Name] = true
		models := []Model{p.Reference}
		for _, a := range p.Aligned {
			models = append(models, a.Model)
			if !name.MatchString(a.Name) || a.Method == "" || a.Explain() == "" {
				t.Errorf("%s: %+v", p.Name, a)
			}
			switch a.Meaning {
			case KL:
				if !(a.Parameter > 0) || a.Beta() != a.Parameter {
					t.Errorf("%s: a KL strength of %g", a.Name, a.Parameter)
				}
			case LengthNormalised, None:
				if a.Beta() != 0 || !strings.Contains(a.Explain(), "no effective β") {
					t.Errorf("%s: β of %g, %q", a.Name, a.Beta(), a.Explain())
				}
			default:
				t.Errorf("%s: meaning %q", a.Name, a.Meaning)
			}
		}
		for _, m := range models {
			if !repository.MatchString(m.Repository) || m.GGUF != "" && !repository.MatchString(m.GGUF) {
				t.Errorf("%s: %+v", p.Name, m)
			}
		}
		for _, preset := range p.Presets {
			if _, err := preset.Settings(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := Find("nobody"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("%v", err)
	}
	if p, err := Find("zephyr"); err != nil || !p.Aligned[0].Is("TheBloke/zephyr-7B-beta-GGUF") || p.Aligned[0].Is("zephyr-7b") {
		t.Errorf("%+v, %v", p, err)
	}
}
