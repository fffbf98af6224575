package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"realign/internal/fault"
	known "realign/internal/pair/catalogue"
	"realign/internal/pair/fetch"
)

type pairsPull struct {
	pairFlags
	Name []string `arg:"" placeholder:"NAME" help:"What to fetch: hf:ORG/REPO[:FILE or QUANT], or ollama:NAME[:TAG]."`
}

// Help is shown by --help.
func (c *pairsPull) Help() string {
	return `Fetches models over the network into the stores of Hugging Face and Ollama, so that their own tools have them, too. A download
that was cut off goes on where it was. HF_TOKEN gives access to gated repositories, HF_ENDPOINT names another hub, and HF_HUB_CACHE,
HF_HOME and OLLAMA_MODELS say where the stores are. No other command reaches out to the network.`
}

func (c *pairsPull) Run(ctx context.Context, h env) error {
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	options := fetch.Options{Progress: pullProgress(h)}
	hub := fetch.HubFromEnvironment(os.Getenv, home)
	registry := fetch.RegistryFromEnvironment(os.Getenv, home)
	registry.Endpoint = os.Getenv("REALIGN_OLLAMA_REGISTRY")
	hub.Options, registry.Options = options, options
	for _, name := range c.Name {
		var got string
		if model, ok := strings.CutPrefix(name, "ollama:"); ok {
			got, err = registry.Pull(ctx, model)
		} else if where, ok := strings.CutPrefix(name, "hf:"); ok {
			repository, want, _ := strings.Cut(where, ":")
			got, err = hub.Pull(ctx, repository, want)
		} else if p, found := known.Find(name); found == nil {
			err = fault.Field("NAME", "%s is a pair of the catalogue; fetch its models one by one: %s", name, strings.Join(pullCommands(p), "; "))
		} else {
			err = fault.Field("NAME", "%.80q is neither hf:ORG/REPO nor ollama:NAME", name)
		}
		if err != nil {
			if ctx.Err() != nil {
				return errInterrupted
			}
			return err
		}
		fmt.Fprintf(h.stdout, "%s\n", got)
	}
	return nil
}

// pullProgress shows how far a download is, on a terminal on one line that is written over.
func pullProgress(h env) func(fetch.Progress) {
	if !h.terminal {
		return nil
	}
	began, at := time.Now(), int64(-1)
	return func(p fetch.Progress) {
		if at < 0 {
			at = p.Done
		}
		line := fmt.Sprintf("%s: %.1f of %.1f MB", p.File, float64(p.Done)/1e6, float64(p.Total)/1e6)
		if rate := float64(p.Done-at) / time.Since(began).Seconds(); rate > 0 && p.Done < p.Total {
			line += fmt.Sprintf(", %.1f MB/s, %v left", rate/1e6, time.Duration(float64(p.Total-p.Done)/rate*float64(time.Second)).Round(time.Second))
		}
		end := ""
		if p.Done == p.Total {
			end = "\n"
		}
		fmt.Fprintf(h.stderr, "\r%-78.78s%s", line, end)
	}
}

// pullCommands fetch the models of a pair of the catalogue.
func pullCommands(p known.Pair) []string {
	where := func(m known.Model) string {
		if m.GGUF != "" {
			return "realign pairs pull hf:" + m.GGUF + ":Q8_0"
		}
		return "realign pairs pull hf:" + m.Repository
	}
	commands := []string{where(p.Reference)}
	for _, a := range p.Aligned {
		commands = append(commands, where(a.Model))
	}
	return commands
}

type pairsCatalogue struct {
	Name string `arg:"" optional:"" help:"Show one pair whole."`
	JSON bool   `name:"json" help:"Print JSON."`
}

func (c *pairsCatalogue) Run(h env) error {
	if c.Name != "" {
		p, err := known.Find(c.Name)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(h, p)
		}
		return printKnown(h, p)
	}
	all := known.Pairs()
	if c.JSON {
		return printJSON(h, all)
	}
	w := tabwriter.NewWriter(h.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSIZE\tβ\tLICENCE\tTITLE")
	for _, p := range all {
		beta := "–"
		for _, a := range p.Aligned {
			if a.Beta() > 0 {
				beta = fmt.Sprint(a.Beta())
				break
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Name, billions(p.Parameters), beta, p.Licence, p.Title)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(h.stdout, "\nβ is shown where it is a KL strength towards the reference: realign pairs catalogue NAME says what it means otherwise.")
	return nil
}

// printKnown shows one pair of the catalogue.
func printKnown(h env, p known.Pair) error {
	fmt.Fprintf(h.stdout, "%s: %s\n%s weights a model, licence %s, chat template %s\n\nreference  hf:%s\n", p.Name, p.Title, billions(p.Parameters), p.Licence, p.Template, p.Reference.Repository)
	for _, a := range p.Aligned {
		fmt.Fprintf(h.stdout, "%-10s hf:%s\n           %s\n", a.Name, a.Repository, a.Explain())
	}
	for _, s := range p.Presets {
		fmt.Fprintf(h.stdout, "\nPreset: %s, λ %s, prompt %q\n", s.Name, strings.Join(s.Lambda, ", "), s.Prompt)
	}
	if len(p.Unverified) > 0 {
		fmt.Fprintf(h.stdout, "\nNot verified: %s\n", strings.Join(p.Unverified, ", "))
	}
	fmt.Fprintln(h.stdout)
	for _, command := range pullCommands(p) {
		fmt.Fprintln(h.stdout, command)
	}
	return nil
}

func billions(n float64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.0fM", n/1e6)
	}
	return fmt.Sprintf("%.1fB", n/1e9)
}
