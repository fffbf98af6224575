package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gpu"
	"realign/internal/pair"
)

// pairsCommand is `realign pairs`.
type pairsCommand struct {
	List      pairsList      `cmd:"" help:"List the pairs there are."`
	Find      pairsFind      `cmd:"" help:"List the models on this machine, and the pairs that they could be."`
	Pull      pairsPull      `cmd:"" help:"Fetch models from Hugging Face or from Ollama's registry."`
	Catalogue pairsCatalogue `cmd:"" help:"List the public pairs that are known by name."`
	Show      pairsShow      `cmd:"" help:"Show a pair's models, files and sums."`
	Add       pairsAdd       `cmd:"" help:"Register a pair of model files."`
	Remove    pairsRemove    `cmd:"" help:"Take away a pair that was added. The files of its models stay where they are."`
	Check     pairsCheck     `cmd:"" help:"Check a pair's files: sums, whether they fit together, and whether they load."`
}

// pairsList is `realign pairs list`.
type pairsList struct {
	pairFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the pairs whose manifests can be read; of the others the log tells.
func (c *pairsList) Run(h env, log *slog.Logger) error {
	pairs, broken := c.library().List()
	if broken != nil {
		log.Warn("a manifest is broken", "error", broken)
	}
	if c.JSON {
		return printJSON(h, pairs)
	}
	w := tabwriter.NewWriter(h.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tALIGNED\tTITLE")
	for _, p := range pairs {
		title := p.Label()
		if p.Installed() != nil {
			title += " (not installed: " + p.Reference.Install + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, strings.Join(p.Names(), ", "), title)
	}
	return w.Flush()
}

// pairsShow is `realign pairs show`.
type pairsShow struct {
	pairFlags
	modelFlags
	Name string `arg:"" help:"Pair."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run shows what a pair's manifest and files say, and where its models would go. Nothing is loaded but
// vocabularies.
func (c *pairsShow) Run(ctx context.Context, h env, log *slog.Logger) error {
	p, err := findPair(c.library(), c.Name)
	if err != nil {
		return err
	}
	var devices []gpu.Device
	var plan gpu.Plan
	if h.gpu.plan != nil && p.Installed() == nil {
		if choice, _ := c.offload(); !choice.None { // Validate has seen it
			_, devices = backends(ctx, log)
		}
		if plan, err = h.gpu.plan(p, c.modelFlags, devices); err != nil && fault.Of(err).Field != "" {
			return err
		} // what is wrong with the files is shown below
	}
	var findings []pair.Found
	if p.Installed() == nil {
		if findings, err = h.finder(c.pairFlags).Find(ctx, p); err != nil {
			return err
		}
	}
	if c.JSON {
		shown := struct {
			*pair.Pair
			Placement []gpu.Placement           `json:"placement,omitempty"`
			Findings  map[string][]gguf.Finding `json:"findings,omitempty"` // by role
		}{Pair: p, Findings: map[string][]gguf.Finding{}}
		for _, f := range findings {
			shown.Findings[f.Role] = append(shown.Findings[f.Role], f.Finding)
		}
		for _, m := range plan.Models {
			shown.Placement = append(shown.Placement, m.Placement)
		}
		return printJSON(h, shown)
	}
	fmt.Fprintf(h.stdout, "%s: %s\n%s\nLicence: %s\nFolder: %s\n", p.Name, p.Label(), p.Description, p.Licence, p.Dir)
	if p.Installed() != nil {
		fmt.Fprintf(h.stdout, "Not installed: %s\n", p.Reference.Install)
	}
	fmt.Fprintln(h.stdout)
	w := tabwriter.NewWriter(h.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "MODEL\tKIND\tβ\tSIZE\tFITS\tSHA-256\tFILE")
	for _, f := range p.Files() {
		kind, beta, size, fits, sum := "model", "", "missing", "yes", f.SHA256
		if a := p.Of(f); a != nil && !f.Untuned() {
			kind = a.Kind()
		}
		if a := p.Of(f); a != nil && a.Beta > 0 {
			beta = strconv.FormatFloat(a.Beta, 'g', -1, 64)
		}
		if bytes, err := sizeOf(f.Path); err == nil {
			size = megabytes(bytes)
		}
		if err := p.CheckFile(ctx, f, nil); err != nil {
			fits = "no (see check)"
		}
		if sum == "" {
			sum = "not stated"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Role, kind, beta, size, fits, sum, f.Path)
	}
	for i := range p.Aligned {
		if a := &p.Aligned[i]; a.Contrast != nil {
			fmt.Fprintf(w, "%s\t%s\t\t\tyes\t%s\t%.60q\n", a.Name, a.Kind(), a.Digest(), a.Contrast.System+a.Contrast.Context)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(findings) > 0 {
		fmt.Fprintln(h.stdout)
	}
	for _, f := range findings {
		fmt.Fprintf(h.stdout, "%s: %s: %s\n", f.Role, f.Level, f.Text)
	}
	if len(plan.Models) == 0 {
		return nil
	}
	fmt.Fprintf(h.stdout, "\nWith --gpu-layers=%s and --devices=%s, layers go to:\n", c.GPULayers, c.Devices)
	for _, m := range plan.Models {
		fmt.Fprintf(w, "%s\t%s\n", m.Model, m.Where())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(h.stdout)
	return printDevices(h, devices)
}

// pairsRemove is `realign pairs remove`.
type pairsRemove struct {
	pairFlags
	Name string `arg:"" help:"Pair."`
}

// Run takes a pair away. The files of its models stay where they are, unless they were copied beside its manifest.
func (c *pairsRemove) Run(h env) error {
	if _, err := findPair(c.library(), c.Name); err != nil {
		return err
	}
	if err := c.library().Remove(c.registered(), c.Name); err != nil {
		return err
	}
	fmt.Fprintf(h.stdout, "removed %s\n", c.Name)
	return nil
}

// pairsAdd is `realign pairs add`.
type pairsAdd struct {
	pairFlags
	Name      string   `arg:"" help:"Name of the new pair."`
	Reference string   `required:"" placeholder:"WHERE" help:"The reference model: a GGUF file, a folder of safetensors, ollama:NAME[:TAG], or hf:ORG/REPO[:FILE or QUANT]."`
	Aligned   []string `sep:"none" placeholder:"NAME=WHERE[,KEY=VALUE…]" help:"An aligned model of its own. Keys: beta, reward, title, sha256, default, and untuned=WHERE for a small model whose tuning is added to the reference's logits. May be given several times."`
	Adapter   []string `sep:"none" placeholder:"NAME=WHERE[,KEY=VALUE…]" help:"A LoRA adapter for the reference's weights, as a GGUF file or a PEFT folder, in the same form; scale=X multiplies its strength."`
	Quantize  string   `placeholder:"TYPE" help:"Quantise models that are folders of safetensors, to q8_0, q4_k_m and the like."`
	contrastFlags
	Template    string   `placeholder:"FILE or NAME" help:"Chat template in place of the models' own: a file in Jinja, or the name of one that llama.cpp knows, such as chatml or zephyr."`
	TemplateVar []string `name:"template-var" sep:"none" placeholder:"NAME=VALUE" help:"Variable of the chat template, such as enable_thinking=false. May be given several times."`

	Title       string `help:"Title of the pair."`
	Description string `help:"Description of the pair."`
	Licence     string `help:"Licence of the models."`
	SHA256      string `name:"sha256" placeholder:"HEX" help:"Sum that the reference's file must have. Sums that are not given are computed."`
	Copy        bool   `help:"Copy the files into the data folder instead of referring to them."`
}

// Run finds or converts the models' files, checks that they fit, and writes the manifest with their sums.
func (c *pairsAdd) Run(ctx context.Context, h env) error {
	p := &pair.Pair{
		Name: c.Name, Title: c.Title, Description: c.Description, Licence: c.Licence,
		Reference: pair.Reference{Name: pair.RoleReference, File: c.Reference, SHA256: c.SHA256},
		Sampling:  decode.DefaultSampling(),
	}
	for _, text := range c.Adapter {
		a, err := parseAligned("--adapter", text, true)
		if err != nil {
			return err
		}
		p.Aligned = append(p.Aligned, a)
	}
	for _, text := range c.Aligned {
		a, err := parseAligned("--aligned", text, false)
		if err != nil {
			return err
		}
		p.Aligned = append(p.Aligned, a)
	}
	contrast, err := c.contrast()
	if err != nil {
		return err
	}
	if contrast != nil && len(p.Aligned) > 0 {
		return fault.Field("--contrast-"+pair.ContrastName(*contrast), "does not go with --aligned and --adapter")
	}
	if contrast != nil {
		p.Aligned = pair.NewContrast(c.Name, c.Reference, *contrast).Aligned
	}
	if err := pair.CheckName("NAME", c.Name); err != nil {
		return err
	}
	if err := c.template(p); err != nil {
		return err
	}
	if err := c.locate(ctx, h, c.Quantize, p); err != nil {
		return err
	}
	sums := c.sums()
	for _, f := range p.Files() {
		if err := p.CheckFile(ctx, f, sums); err != nil {
			return err
		}
		sum, err := sums.Model(ctx, f.Path)
		if err != nil {
			return err
		}
		p.SetSum(f, sum)
	}
	findings, err := h.finder(c.pairFlags).Find(ctx, p)
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.Faulty() {
			return fault.New(fault.Invalid, "%s: %s", f.Role, f.Text)
		}
	}
	if err := c.library().Register(c.registered(), p, c.Copy); err != nil {
		return asFlagError(err)
	}
	fmt.Fprintf(h.stdout, "added %s: %s\n", p.Name, strings.Join(p.Names(), ", "))
	return nil
}

// template gives a pair the chat template of the flags, and its variables.
func (c *pairsAdd) template(p *pair.Pair) error {
	rendering, err := (&renderingFlags{TemplateVar: c.TemplateVar}).rendering(time.Now())
	if err != nil {
		return err
	}
	p.Template, p.TemplateVariables = c.Template, rendering.Variables
	if info, err := os.Stat(c.Template); c.Template != "" && err == nil && info.Mode().IsRegular() {
		if p.Template, err = filepath.Abs(c.Template); err != nil {
			return fault.Field("--template", "%v", err)
		}
	}
	if _, _, err := p.ChatTemplate(); err != nil {
		return fault.Field("--template", "%.200q is neither a file that can be read nor the name of a template: %s", c.Template, fault.Of(err).Message)
	}
	return nil
}

// sizeOf is the bytes of a model's file, or of all of its parts.
func sizeOf(path string) (bytes int64, err error) {
	for _, part := range gguf.Parts(path) {
		info, err := os.Stat(part)
		if err != nil {
			return 0, err
		}
		bytes += info.Size()
	}
	return bytes, nil
}

// cutName cuts NAME=WHERE.
func cutName(text string) (name, where string, ok bool) {
	name, where, ok = strings.Cut(text, "=")
	return name, where, ok && where != ""
}

// parseAligned reads NAME=WHERE,KEY=VALUE….
func parseAligned(flag, text string, adapter bool) (pair.Aligned, error) {
	parts := strings.Split(text, ",")
	name, file, ok := cutName(parts[0])
	if !ok {
		return pair.Aligned{}, fault.Field(flag, "%.80q is not NAME=WHERE", parts[0])
	}
	a := pair.Aligned{Name: name, File: file}
	if adapter {
		a.File, a.Adapter = "", file
	}
	for _, part := range parts[1:] {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "beta":
			beta, err := decode.ParseNumber(flag, value)
			if err != nil || !(beta > 0) {
				return a, fault.Field(flag, "beta %.40q of %s is not a positive number", value, name)
			}
			a.Beta = beta
		case "scale":
			scale, err := decode.ParseNumber(flag, value)
			if err != nil || !adapter || scale == 0 {
				return a, fault.Field(flag, "scale %.40q of %s is not the strength of an adapter: a number other than 0", value, name)
			}
			a.Scale = scale
		case "reward":
			a.Reward = value
		case "title":
			a.Title = value
		case "sha256":
			a.SHA256 = value
		case "default":
			a.Default = true
		case "untuned":
			a.Untuned = value
		default:
			return a, fault.Field(flag, "%.40q is none of beta, scale, reward, title, sha256, untuned and default", key)
		}
	}
	return a, nil
}

// printJSON prints a value as indented JSON.
func printJSON(h env, v any) error {
	e := json.NewEncoder(h.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
