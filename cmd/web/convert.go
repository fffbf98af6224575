package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/pair/convert"
	"realign/internal/pair/modelstore"
)

// convertCommand is `realign convert`, and, with --child, the process in which folders that stand for models are
// converted.
type convertCommand struct {
	pairFlags
	Folder   string `arg:"" placeholder:"WHERE" help:"A folder of safetensors, a PEFT folder, or hf:ORG/REPO with one of them."`
	Out      string `required:"" placeholder:"FILE" help:"GGUF file to write."`
	Base     string `placeholder:"WHERE" help:"For an adapter: the GGUF model that it is for."`
	Name     string `help:"What the model is called in the file. Default: the name of the folder or the repository."`
	Quantize string `placeholder:"TYPE" help:"Quantise the weights to q8_0, q4_k_m and the like. Default: weights keep their type."`
	Child    bool   `hidden:"" help:"Report progress in JSON lines, and end with the standard input."`
}

// Help is shown by --help.
func (c *convertCommand) Help() string {
	return `Where pairs are added and decoded on, a folder may stand for a file: it is converted then, and the result is kept in the data
folder. This command makes a file to keep elsewhere. Models of these classes of transformers are converted: ` + strings.Join(convert.Architectures(), ", ") + `.`
}

// Run converts in this process.
func (c *convertCommand) Run(ctx context.Context, h env) error {
	report := conversionProgress(h)
	if c.Child {
		report = childProgress(h)
		go func() {
			_, _ = io.Copy(io.Discard, h.stdin)
			os.Exit(1) // the parent is gone: nobody wants the file
		}()
	}
	m, err := modelstore.Resolve(ctx, "WHERE", c.Folder, modelStores(), c.heads())
	if err != nil {
		return err
	}
	job := convert.Job{Dir: m.Path, Name: c.Name, Quantize: c.Quantize}
	if job.Name == "" {
		job.Name = modelName(m)
	}
	switch {
	case m.Format == modelstore.GGUF:
		return fault.Field("WHERE", "%s is no folder", c.Folder)
	case m.Format == modelstore.PEFT && c.Base == "":
		return fault.Field("--base", "is missing: the GGUF model that the adapter is for")
	case m.Format == modelstore.PEFT && c.Quantize != "":
		return fault.Field("--quantize", "is for models, and %s is an adapter", c.Folder)
	case m.Format == modelstore.PEFT:
		base, err := modelstore.Resolve(ctx, "--base", c.Base, modelStores(), c.heads())
		if err != nil {
			return err
		}
		job.Base = base.Path
	}
	if err := h.runConversion(ctx, job, c.Out, report); err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		return err
	}
	if !c.Child {
		fmt.Fprintln(h.stdout, c.Out)
	}
	return nil
}

// progress is how far a conversion is.
type progress struct {
	Stage string `json:"stage"` // converting or quantising
	Done  int64  `json:"done"`  // bytes, or tensors
	Total int64  `json:"total"`
}

// childProgress reports to the process that started this one.
func childProgress(h env) func(progress) {
	e := json.NewEncoder(h.stdout)
	return func(p progress) { _ = e.Encode(p) } // nobody reads: the conversion ends with the standard input
}

// conversionProgress shows it on a terminal, on a line that is written over.
func conversionProgress(h env) func(progress) {
	if !h.terminal {
		return func(progress) {}
	}
	return func(p progress) {
		end := ""
		if p.Done == p.Total {
			end = "\n"
		}
		fmt.Fprintf(h.stderr, "\r%s: %3d %%%s", p.Stage, 100*p.Done/max(p.Total, 1), end)
	}
}

// seldom passes on the last report and a few of those before, one at a time.
func seldom(report func(progress)) func(progress) {
	const pause = 200 * time.Millisecond
	var mu sync.Mutex // guards last and seen, and keeps reports apart
	var last time.Time
	seen := int64(-1)
	return func(p progress) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); p.Done > seen && (p.Done == p.Total || now.Sub(last) >= pause) {
			last, seen = now, p.Done
			report(p)
		}
	}
}

// runConversion converts in this process.
func (h env) runConversion(ctx context.Context, job convert.Job, out string, report func(progress)) error {
	converting, quantising := seldom(report), seldom(report)
	o := convert.Options{Name: job.Name, Progress: func(done, total int64) { converting(progress{"converting", done, total}) }}
	if job.Base != "" {
		base, err := gguf.Open(job.Base)
		if err != nil {
			return err
		}
		return convert.Adapter(ctx, job.Dir, out, base, o)
	}
	if job.Quantize == "" {
		return convert.Model(ctx, job.Dir, out, o)
	}
	if h.quantize == nil {
		return fault.New(fault.Unavailable, "this build of realign cannot quantise models: it was compiled without llama.cpp")
	}
	whole := out + ".whole"
	defer os.Remove(whole)
	if err := convert.Model(ctx, job.Dir, whole, o); err != nil {
		return err
	}
	return h.quantize(whole, out, job.Quantize, func(done, total int) { quantising(progress{"quantising", int64(done), int64(total)}) })
}

// converted is the GGUF file of a folder, made now if it is not there yet.
func (f pairFlags) converted(ctx context.Context, h env, job convert.Job) (string, error) {
	cache := convert.Cache{
		Folder: filepath.Join(f.Data, "converted"), Sum: f.sums().SHA256, Free: func(folder string) (int64, error) {
			n, err := freeBytes(folder)
			return int64(min(n, 1<<62)), err
		},
		Run: func(ctx context.Context, job convert.Job, out string) error {
			if h.program == "" {
				return h.runConversion(ctx, job, out, conversionProgress(h))
			}
			return h.convertApart(ctx, job, out)
		},
	}
	path, err := cache.Get(ctx, job)
	if ctx.Err() != nil {
		return "", errInterrupted
	}
	return path, err
}

// convertApart converts in a process of its own.
func (h env) convertApart(ctx context.Context, job convert.Job, out string) error {
	args := []string{"convert", "--child", "--out=" + out, "--name=" + job.Name}
	if job.Base != "" {
		args = append(args, "--base="+job.Base)
	}
	if job.Quantize != "" {
		args = append(args, "--quantize="+job.Quantize)
	}
	cmd := exec.CommandContext(ctx, h.program, append(args, "--", job.Dir)...)
	var words bytes.Buffer
	cmd.Stderr = &words
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer in.Close()
	reports, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fault.Wrap(err, fault.Unavailable, "a process for the conversion cannot be started")
	}
	show := conversionProgress(h)
	for lines := bufio.NewScanner(reports); lines.Scan(); {
		var p progress
		if json.Unmarshal(lines.Bytes(), &p) == nil && p.Total > 0 {
			show(p)
		}
	}
	return childError(cmd.Wait(), words.String())
}

// childError is why a child ended: the last line it wrote, with the kind of its exit code.
func childError(err error, words string) error {
	var exit *exec.ExitError
	if err == nil || !errors.As(err, &exit) {
		return err
	}
	lines := strings.Split(strings.TrimSpace(words), "\n")
	why := strings.TrimPrefix(lines[len(lines)-1], "realign: ")
	for kind, code := range exitCodes {
		if code == exit.ExitCode() && code != 0 {
			return fault.New(kind, "%s", why)
		}
	}
	if why == "" {
		why = exit.String()
	}
	return fault.New(fault.Internal, "the conversion ended its process: %s", why)
}

// modelName is what a model is called after its repository; "" for a folder, which has a name of its own.
func modelName(m modelstore.Model) string {
	rest := filepath.ToSlash(m.Path)
	if i := strings.LastIndex(rest, "/models--"); i >= 0 {
		repository, _, _ := strings.Cut(rest[i+len("/models--"):], "/")
		if _, name, ok := strings.Cut(repository, "--"); ok {
			return name
		}
	}
	return ""
}
