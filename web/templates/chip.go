package templates

import "strings"

// chip is the settings in short, as the controller writes them, too (web/static/compose/chip.ts).
func (v Playground) chip() string {
	var parts []string
	for _, p := range v.Pairs {
		if p.Name != v.Draft.Pair {
			continue
		}
		title, _, _ := strings.Cut(or(p.Title, p.Name), ":")
		parts = append(parts, title)
		var models []string
		for _, m := range p.Aligned {
			if v.uses(m) {
				models = append(models, shortModel(m))
			}
		}
		parts = append(parts, strings.Join(models, " + "))
	}
	parts = append(parts, "T "+plain(v.Draft.Sampling.Temperature))
	if v.Draft.Seed != "" {
		parts = append(parts, "seed "+v.Draft.Seed)
	}
	return strings.Join(parts, " · ")
}

// shortModel is an aligned model with its β.
func shortModel(m AlignedModel) string {
	name := strings.Replace(or(m.Title, m.Name), ", β = ", " β ", 1)
	if m.Beta > 0 && !strings.Contains(name, "β") {
		name += " β " + plain(m.Beta)
	}
	return name
}
