package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/filecache"
	"realign/internal/pair"
	"realign/internal/pair/convert"
	"realign/internal/pair/modelstore"
)

// pairsFind is `realign pairs find`.
type pairsFind struct {
	pairFlags
	Folders []string `arg:"" optional:"" placeholder:"DIR" help:"Folders to look into beside the stores of Ollama, Hugging Face, llama.cpp and LM Studio."`
	JSON    bool     `name:"json" help:"Print JSON."`
}

// Run lists the models on this machine and the pairs that they could be. Broken files are listed and are no failure.
func (c *pairsFind) Run(ctx context.Context, h env) error {
	for _, folder := range c.Folders {
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			return fault.Field("DIR", "%.200q is not a folder that can be read", folder)
		}
	}
	found, err := modelstore.Scan(ctx, modelStores(c.Folders...), c.heads())
	if err != nil {
		return err
	}
	proposals := modelstore.Propose(found.Models)
	if c.JSON {
		return printJSON(h, struct {
			modelstore.Listing
			Pairs []modelstore.Proposal `json:"pairs"`
		}{found, proposals})
	}
	return printFound(h, found, proposals)
}

// printFound shows models, what cannot be used, and the commands that add pairs.
func printFound(h env, found modelstore.Listing, proposals []modelstore.Proposal) error {
	if len(found.Stores) == 0 {
		fmt.Fprintln(h.stdout, "No store of Ollama, Hugging Face, llama.cpp or LM Studio is on this machine. Name a folder with models: realign pairs find DIR")
		return nil
	}
	for _, s := range found.Stores {
		fmt.Fprintf(h.stdout, "Looked into %s (%s)\n", s.Root, s.Kind)
	}
	if len(found.Models) > 0 {
		fmt.Fprintln(h.stdout)
		w := tabwriter.NewWriter(h.stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "MODEL\tKIND\tARCHITECTURE\tSIZE\tTYPE\tTOKENIZER")
		for _, m := range byTokenizer(found.Models) {
			kind := string(m.Format)
			if m.Adapter && m.Format == modelstore.GGUF {
				kind = "adapter"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, kind, m.Architecture, megabytes(m.Size), m.Quantisation, m.Tokenizer)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	for _, b := range found.Broken {
		fmt.Fprintf(h.stdout, "\nNot usable: %s: %s", b.Path, b.Reason)
	}
	if len(found.Broken) > 0 {
		fmt.Fprintln(h.stdout)
	}
	if len(proposals) == 0 {
		fmt.Fprintln(h.stdout, "\nNo two of them look like a pair. Models with the same word under TOKENIZER can be one: realign pairs add NAME --reference MODEL --aligned NAME=MODEL")
		return nil
	}
	fmt.Fprintln(h.stdout, "\nThese look like pairs. Add one by its command; beta=… behind the aligned model tells the β that it was trained with.")
	for _, p := range proposals {
		fmt.Fprintf(h.stdout, "\n%s + %s: %s\n  %s\n", p.Reference, p.Aligned, p.Reason, p.Command)
	}
	return nil
}

// byTokenizer puts models of one tokenizer beside each other, those without one last.
func byTokenizer(models []modelstore.Model) []modelstore.Model {
	models = slices.Clone(models)
	slices.SortStableFunc(models, func(a, b modelstore.Model) int {
		switch {
		case a.Tokenizer == b.Tokenizer:
			return 0
		case a.Tokenizer == "":
			return 1
		case b.Tokenizer == "":
			return -1
		}
		return cmp.Compare(a.Tokenizer, b.Tokenizer)
	})
	return models
}

// megabytes is a number of bytes for people.
func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// modelStores are the stores of this machine, and folders that somebody names.
func modelStores(folders ...string) []modelstore.Store {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // stores that the environment names are still found
	}
	return modelstore.Stores(os.Getenv, home, folders...)
}

// heads remembers what the heads of model files say.
func (f pairFlags) heads() *modelstore.Heads {
	return filecache.Open[modelstore.Remembered](filepath.Join(f.Data, "heads.json"))
}

// locate puts the files behind names of stores into a pair, and makes paths independent of the working folder.
func (f pairFlags) locate(ctx context.Context, h env, quantize string, p *pair.Pair) error {
	heads := f.heads()
	place := func(field string, where *string, adapter bool) error {
		m, err := modelstore.Resolve(ctx, field, *where, modelStores(), heads)
		switch {
		case fault.KindOf(err) == fault.NotFound:
			return fault.Field(field, "%s (realign pairs find lists what there is)", fault.Of(err).Message)
		case err != nil:
			return err
		case (m.Adapter || m.Format == modelstore.PEFT) && !adapter:
			return fault.Field(field, "%s is an adapter: give it with --adapter", *where)
		case !m.Adapter && adapter && (modelstore.IsName(*where) || m.Format == modelstore.Safetensors):
			return fault.Field(field, "%s is a whole model: give it with --aligned", *where)
		}
		*where = m.Path
		if m.Format == modelstore.GGUF {
			return nil
		}
		// An adapter is converted for the reference, whose path is final by then, and is never quantised.
		job := convert.Job{Dir: m.Path, Name: modelName(m), Quantize: quantize}
		if adapter {
			job.Base, job.Quantize = p.Reference.File, ""
		}
		*where, err = f.converted(ctx, h, job)
		return err
	}
	if err := place("--reference", &p.Reference.File, false); err != nil {
		return err
	}
	for i := range p.Aligned {
		a := &p.Aligned[i]
		if a.Contrast != nil {
			continue
		}
		if a.Untuned != "" {
			if err := place("--aligned", &a.Untuned, false); err != nil {
				return err
			}
		}
		field, where := "--aligned", &a.File
		if a.Adapter != "" {
			field, where = "--adapter", &a.Adapter
		}
		if err := place(field, where, a.Adapter != ""); err != nil {
			return err
		}
	}
	return nil
}

// unregistered is a pair of models that are named on the command line and nowhere else.
func (f pairFlags) unregistered(ctx context.Context, h env, quantize, reference, aligned string, adapters []string) (*pair.Pair, error) {
	p := &pair.Pair{
		Name: "unregistered", Reference: pair.Reference{Name: pair.RoleReference, File: reference}, Sampling: decode.DefaultSampling(),
	}
	add := func(flag, text string, adapter bool) error {
		if name, _, ok := cutName(text); !ok || pair.CheckName(flag, name) != nil {
			name = "aligned"
			if n := len(p.Aligned); n > 0 {
				name += strconv.Itoa(n + 1)
			}
			text = name + "=" + text
		}
		a, err := parseAligned(flag, text, adapter)
		p.Aligned = append(p.Aligned, a)
		return err
	}
	if aligned != "" {
		if err := add("--aligned", aligned, false); err != nil {
			return nil, err
		}
	}
	for _, text := range adapters {
		if err := add("--adapter", text, true); err != nil {
			return nil, err
		}
	}
	if len(p.Aligned) == 0 {
		return nil, fault.Field("--reference", "needs an aligned model beside it: --aligned or --adapter, or give --model with --contrast-system or --contrast-context")
	}
	if err := f.locate(ctx, h, quantize, p); err != nil {
		return nil, err
	}
	for _, file := range p.Files() {
		if err := p.CheckFile(ctx, file, nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}
