package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gpu"
	"realign/internal/pair"
)

type pairsCommand struct {
	List      pairsList      `cmd:"" help:"List the pairs there are."`
	Find      pairsFind      `cmd:"" help:"List the models on this machine, and the pairs that they could be."`
	Pull      pairsPull      `cmd:"" help:"Fetch models from Hugging Face or from Ollama's registry."`
	Catalogue pairsCatalogue `cmd:"" help:"List the public pairs that are known by name."`
	Show      pairsShow      `cmd:"" help:"Show a pair's models, files and sums."`
	Add       pairsAdd       `cmd:"" help:"Register a pair of model files."`
	Check     pairsCheck     `cmd:"" help:"Check a pair's files: sums, whether they fit together, and whether they load."`
}

type pairsList struct {
	pairFlags
	JSON bool `name:"json" help:"Print JSON."`
}

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

type pairsShow struct {
	pairFlags
	modelFlags
	Name string `arg:"" help:"Pair."`
	JSON bool   `name:"json" help:"Print JSON."`
}

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
	if c.JSON {
		shown := struct {
			*pair.Pair
			Placement []gpu.Placement           `json:"placement,omitempty"`
			Findings  map[string][]gguf.Finding `json:"findings,omitempty"` // by role
		}{Pair: p, Findings: map[string][]gguf.Finding{}}
		for _, f := range p.Files() {
			if findings := p.Findings(f); p.Installed() == nil && len(findings) > 0 {
				shown.Findings[f.Role] = findings
			}
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
	for i, f := range p.Files() {
		kind, beta, size, fits, sum := "model", "", "missing", "yes", f.SHA256
		if f.Adapter {
			kind = "adapter"
		}
		if i > 0 && p.Aligned[i-1].Beta > 0 {
			beta = strconv.FormatFloat(p.Aligned[i-1].Beta, 'g', -1, 64)
		}
		if info, err := os.Stat(f.Path); err == nil {
			size = megabytes(info.Size())
		}
		if err := p.CheckFile(ctx, f, nil); err != nil {
			fits = "no (see check)"
		}
		if sum == "" {
			sum = "not stated"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Role, kind, beta, size, fits, sum, f.Path)
	}
	if err := w.Flush(); err != nil || len(plan.Models) == 0 {
		return err
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

type pairsAdd struct {
	pairFlags
	Name        string   `arg:"" help:"Name of the new pair."`
	Reference   string   `required:"" placeholder:"WHERE" help:"The reference model: a GGUF file, ollama:NAME[:TAG], or hf:ORG/REPO[:FILE or QUANT]."`
	Aligned     []string `sep:"none" placeholder:"NAME=WHERE[,KEY=VALUE…]" help:"An aligned model of its own. Keys: beta, reward, title, sha256, default. May be given several times."`
	Adapter     []string `sep:"none" placeholder:"NAME=WHERE[,KEY=VALUE…]" help:"A LoRA adapter for the reference's weights, in the same form."`
	Title       string   `help:"Title of the pair."`
	Description string   `help:"Description of the pair."`
	Licence     string   `help:"Licence of the models."`
	SHA256      string   `name:"sha256" placeholder:"HEX" help:"Sum that the reference's file must have. Sums that are not given are computed."`
	Copy        bool     `help:"Copy the files into the data folder instead of referring to them."`
}

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
	if err := pair.CheckName("NAME", c.Name); err != nil {
		return err
	}
	if err := c.locate(ctx, p); err != nil {
		return err
	}
	sums := c.sums()
	for i, f := range p.Files() {
		if err := p.CheckFile(ctx, f, sums); err != nil {
			return err
		}
		sum, err := sums.SHA256(ctx, f.Path)
		if err != nil {
			return err
		}
		if i == 0 {
			p.Reference.SHA256 = sum
		} else {
			p.Aligned[i-1].SHA256 = sum
		}
	}
	if err := c.library().Register(c.registered(), p, c.Copy); err != nil {
		return asFlagError(err)
	}
	fmt.Fprintf(h.stdout, "added %s: %s\n", p.Name, strings.Join(p.Names(), ", "))
	return nil
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
		case "reward":
			a.Reward = value
		case "title":
			a.Title = value
		case "sha256":
			a.SHA256 = value
		case "default":
			a.Default = true
		default:
			return a, fault.Field(flag, "%.40q is none of beta, reward, title, sha256 and default", key)
		}
	}
	return a, nil
}

func printJSON(h env, v any) error {
	e := json.NewEncoder(h.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
