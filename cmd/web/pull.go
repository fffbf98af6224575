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

// pairsPull is `realign pairs pull`, the only command that reaches out to the network.
type pairsPull struct {
	pairFlags
	Name  []string `arg:"" placeholder:"NAME" help:"What to fetch: hf:ORG/REPO[:FILE or QUANT], ollama:NAME[:TAG], or a pair of the catalogue."`
	Quant string   `default:"Q8_0" placeholder:"TYPE" help:"Of a pair of the catalogue: the quantisation of models that are there as GGUF."`
}

// Help is shown by --help.
func (c *pairsPull) Help() string {
	return `Fetches models over the network into the stores of Hugging Face and Ollama, so that their own tools have them, too. A download
that was cut off goes on where it was. HF_TOKEN gives access to gated repositories, HF_ENDPOINT names another hub, and HF_HUB_CACHE,
HF_HOME and OLLAMA_MODELS say where the stores are. Of a pair of the catalogue ("realign pairs catalogue") all models are fetched, and
the command that adds the pair is printed. No other command reaches out to the network.`
}

// Run fetches one model after another and prints the names under which they are found.
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
	pull := func(name string) (got string, err error) {
		if model, ok := strings.CutPrefix(name, "ollama:"); ok {
			got, err = registry.Pull(ctx, model)
		} else if where, ok := strings.CutPrefix(name, "hf:"); ok {
			repository, want, _ := strings.Cut(where, ":")
			got, err = hub.Pull(ctx, repository, want)
		} else {
			err = fault.Field("NAME", "%.80q is neither hf:ORG/REPO, nor ollama:NAME, nor a pair of the catalogue (realign pairs catalogue)", name)
		}
		if ctx.Err() != nil {
			return "", errInterrupted
		}
		if err == nil {
			fmt.Fprintf(h.stdout, "%s\n", got)
		}
		return got, err
	}
	for _, name := range c.Name {
		if p, err := known.Find(name); err == nil {
			if err := c.known(h, p, pull); err != nil {
				return err
			}
		} else if _, err := pull(name); err != nil {
			return err
		}
	}
	return nil
}

// known fetches the models of a pair of the catalogue, and prints the command that adds it.
func (c *pairsPull) known(h env, p known.Pair, pull func(name string) (string, error)) error {
	reference, err := pull(where(p.Reference, c.Quant))
	if err != nil {
		return err
	}
	command := fmt.Sprintf("realign pairs add %s --reference %s", p.Name, reference)
	for _, a := range p.Aligned {
		got, err := pull(where(a.Model, c.Quant))
		if err != nil {
			return err
		}
		command += fmt.Sprintf(" --aligned %s=%s", a.Name, got)
		if beta := a.Beta(); beta > 0 {
			command += fmt.Sprintf(",beta=%g", beta)
		}
	}
	fmt.Fprintf(h.stdout, "\n%s\n", command)
	return nil
}

// where is what a model of the catalogue is fetched by.
func where(m known.Model, quant string) string {
	if m.GGUF != "" {
		return "hf:" + m.GGUF + ":" + quant
	}
	return "hf:" + m.Repository
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

// pairsCatalogue is `realign pairs catalogue`.
type pairsCatalogue struct {
	Name string `arg:"" optional:"" help:"Show one pair whole."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run lists the catalogue, or shows one pair of it.
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
	fmt.Fprintf(h.stdout, "%s: %s\n%s weights a model: %s; licence %s, chat template %s\n\n", p.Name, p.Title, billions(p.Parameters), p.Sizes(), p.Licence, p.Template)
	files := func(name string, m known.Model) {
		fmt.Fprintf(h.stdout, "%-10s hf:%s", name, m.Repository)
		if m.GGUF != "" {
			fmt.Fprintf(h.stdout, ", GGUF: hf:%s", m.GGUF)
		}
		fmt.Fprintln(h.stdout)
	}
	files("reference", p.Reference)
	for _, a := range p.Aligned {
		files(a.Name, a.Model)
		fmt.Fprintf(h.stdout, "           %s\n", a.Explain())
	}
	for _, s := range p.Presets {
		fmt.Fprintf(h.stdout, "\nPreset: %s, λ %s, prompt %q\n", s.Name, strings.Join(s.Lambda, ", "), s.Prompt)
	}
	if len(p.Unverified) > 0 {
		fmt.Fprintf(h.stdout, "\nNot verified: %s\n", strings.Join(p.Unverified, ", "))
	}
	fmt.Fprintf(h.stdout, "\nrealign pairs pull %s\n", p.Name)
	return nil
}

// billions is a number of weights for people.
func billions(n float64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.0fM", n/1e6)
	}
	return fmt.Sprintf("%.1fB", n/1e9)
}
