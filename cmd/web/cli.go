package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"realign/internal/decode"
	"realign/internal/decode/speculate"
	"realign/internal/fault"
	"realign/internal/filecache"
	"realign/internal/gguf"
	"realign/internal/gguf/randomweights"
	"realign/internal/gpu"
	"realign/internal/pair"
)

// env is what a command has of the outside. It is made once, by main or a test, and copied.
type env struct {
	stdin          io.Reader // of the process, or of a test
	stdout, stderr io.Writer
	terminal       bool // stdout is one

	// open loads a pair's models; tests put a table in its place.
	open func(ctx context.Context, p *pair.Pair, o modelFlags, progress func(float64)) (decode.Pair, error)
	try  func(p *pair.Pair, o modelFlags) trial // tries out a pair's models apart; nil does it in this process, with open
	// checkVocabularies loads the vocabularies of a pair and tells what it found, by role; nil: this build cannot.
	checkVocabularies func(ctx context.Context, p *pair.Pair) (map[string][]gguf.Finding, error)
	gpu               gpuAccess     // what can be learnt of GPUs
	engine            func() string // what open runs on
	// program is started once more for conversions, which take much memory and may end their process; "" converts in this one.
	program  string
	quantize func(in, out, to string, progress func(done, total int)) error // nil: this build cannot

	kernel     decode.Kernel // for vocabularies of the size of its models'; nil is plain Go
	cpuKernels kernelChoice
}

// kernelChoice chooses between llama.cpp's kernels for the CPU and those of this program; nil where this build has only llama.cpp's.
type kernelChoice struct {
	attendInBlocks  func(bool) // of keys
	multiplyInTiles func(bool) // of quantized weights
}

// trial tries out a pair's models.
func (h env) trial(p *pair.Pair, o modelFlags) trial {
	if h.try != nil {
		return h.try(p, o)
	}
	return &opened{open: func(ctx context.Context) (decode.Pair, error) { return h.open(ctx, p, o, func(float64) {}) }}
}

// finder finds what people should know of pairs. What it found of vocabularies is kept in the data folder.
func (h env) finder(f pairFlags) *pair.Finder {
	if h.checkVocabularies == nil {
		return nil
	}
	return &pair.Finder{CheckVocabularies: h.checkVocabularies, Known: filecache.Open[pair.VocabularyFindings](filepath.Join(f.Data, "vocabularies.json"))}
}

// cli is the command line. Every flag has an environment variable REALIGN_….
type cli struct {
	LogLevel  string `enum:"auto,debug,info,warn,error" default:"auto" help:"Least important messages to log (${enum}): auto is info for serve, worker and devices, warn for the others."`
	LogFormat string `enum:"text,json" default:"text" help:"Format of the log (${enum})."`

	Serve     serveCommand     `cmd:"" help:"Serve the pages."`
	Decode    decodeCommand    `cmd:"" help:"Decode a prompt at one or more λ."`
	Map       mapCommand       `cmd:"" help:"Find every reply to a prompt over an interval of λ."`
	Sweep     sweepCommand     `cmd:"" help:"Find the λ, and so the β, that is worth training, by decoding prompts at many λ and judging the texts."`
	MTBench   mtbenchCommand   `cmd:"" name:"mtbench" help:"Run MT-Bench, both turns, at several λ, with a judge behind an endpoint."`
	Pairs     pairsCommand     `cmd:"" help:"List, show, add and check pairs of models."`
	Convert   convertCommand   `cmd:"" help:"Make a GGUF file of a folder of safetensors or of a PEFT adapter."`
	Keys      keysCommand      `cmd:"" help:"Make, list and revoke the keys of programs that use the API."`
	Devices   devicesCommand   `cmd:"" help:"List the GPUs that models can be put on."`
	Worker    workerCommand    `cmd:"" help:"Decode for servers that share a NATS cluster."`
	Doctor    doctorCommand    `cmd:"" help:"Look whether the database, the data folder, the disk, the pairs and NATS are as a server needs them."`
	Backup    backupCommand    `cmd:"" help:"Copy the database and the pairs of a server into a folder, while it runs."`
	Token     tokenCommand     `cmd:"" help:"Print the token that workers show to join the server of a data folder, for all pairs or for one."`
	Logits    logitsCommand    `cmd:"" hidden:"" help:"${logits_help}"`
	Load      loadCommand      `cmd:"" help:"Play people and programs that use servers, and measure what they get."`
	Bench     benchCommand     `cmd:"" help:"Time the engine against bare forward passes of the same shapes."`
	Random    randomCommand    `cmd:"" help:"Make a pair with random weights in the shape of a Llama model, for bench."`
	Footprint footprintCommand `cmd:"" name:"footprint" hidden:"" help:"What a process takes that loads a pair and decodes: see bench --only memory."`
	Version   versionCommand   `cmd:"" help:"Show the version of this program and of what it decodes with."`
}

// Run is the program, but for the process. It returns the exit code.
func Run(ctx context.Context, args []string, h env) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("realign"),
		kong.Description("Decoding-time realignment of language models: mix a reference and an aligned model by λ while they decode."),
		kong.DefaultEnvars("REALIGN"), kong.WithHyphenPrefixedParameters(true), kong.Vars{"logits_help": logitsHelp, "data": dataFolder(),
			"random_shapes": randomShapes(), "random_types": strings.Join(randomweights.Types(), ", ")},
		kong.Writers(h.stdout, h.stderr), kong.UsageOnError(), kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(h),
	)
	if err != nil {
		return h.fail(err)
	}
	k, err := parser.Parse(args)
	if exited >= 0 {
		return exited // help was shown
	}
	if err != nil {
		return h.fail(fault.New(fault.Invalid, "%v", err))
	}
	for _, f := range k.Flags() {
		if f.Name == "data" && f.Target.String() == "" {
			return h.fail(fault.Field("--data", "HOME is not set, so there is no folder to keep things in: name one"))
		}
	}
	log := slog.New(c.logHandler(h.stderr, k.Command()))
	slog.SetDefault(log) // the llama package logs by itself
	return h.fail(k.Run(log))
}

// logHandler makes the log that the flags ask for.
func (c *cli) logHandler(to io.Writer, command string) slog.Handler {
	level := slog.LevelWarn
	if command == "serve" || command == "worker" || command == "devices" {
		level = slog.LevelInfo
	}
	if c.LogLevel != "auto" {
		_ = level.UnmarshalText([]byte(c.LogLevel)) // one of the enum's words
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.NewJSONHandler(to, options)
	}
	return slog.NewTextHandler(to, options)
}

// exitCodes by kind of error. Nothing else decides about exit codes but interruption.
var exitCodes = map[fault.Kind]int{
	"":                0,
	fault.Internal:    1,
	fault.Invalid:     2,
	fault.NotFound:    3,
	fault.Conflict:    4,
	fault.Busy:        5,
	fault.Forbidden:   6,
	fault.Unavailable: 7,
}

// errInterrupted ends the program with 130, as shells expect after Ctrl-C, without another word.
var errInterrupted = errors.New("interrupted")

// exitAborted is the exit code where llama.cpp ended the process that loaded a model: no argument was wrong, nor this program.
const exitAborted = 8

// fail says in one line what went wrong and returns the exit code.
func (h env) fail(err error) int {
	if errors.Is(err, errInterrupted) {
		return 130
	}
	if died(err) {
		fmt.Fprintf(h.stderr, "realign: %s\n", strings.Join(strings.Fields(err.Error()), " "))
		return exitAborted
	}
	if err != nil {
		fmt.Fprintf(h.stderr, "realign: %s\n", strings.Join(strings.Fields(err.Error()), " "))
	}
	return exitCodes[fault.KindOf(err)]
}

// asFlagError names an error's field as the flag it came from.
func asFlagError(err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Invalid && f.Field != "" && !strings.HasPrefix(f.Field, "-") {
		g := *f
		g.Field = "--" + strings.ReplaceAll(f.Field, "_", "-")
		return &g
	}
	return err
}

// pairFlags say where pairs are.
type pairFlags struct {
	Models string `placeholder:"DIR" help:"Folders of pairs that came with the program, separated by \":\". Default: models, here or beside the program."`
	Data   string `default:"${data}" placeholder:"DIR" help:"Folder for everything that is kept (default ${data})."`
}

// library finds pairs in the shipped folders, then in the data folder.
func (f pairFlags) library() *pair.Library {
	folders := filepath.SplitList(f.Models)
	if f.Models == "" {
		folders = []string{"models"}
		if program, err := os.Executable(); err == nil {
			beside := filepath.Dir(program)
			folders = append(folders, filepath.Join(beside, "models"), filepath.Join(beside, "..", "models"))
		}
	}
	return pair.NewLibrary(append(folders, f.registered())...)
}

// registered is where pairs are added.
func (f pairFlags) registered() string { return filepath.Join(f.Data, "pairs") }

// sums remembers the SHA-256 of model files in the data folder, if there is one.
func (f pairFlags) sums() *pair.Sums { return pair.OpenSums(filepath.Join(f.Data, "checksums.json")) }

// dataFolder is where things are kept by default; "" where the environment names no home.
func dataFolder() string {
	if base := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "realign")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "realign")
	}
	return ""
}

// modelFlags are the sizes of the models' contexts, and how they are decoded.
type modelFlags struct {
	Threads        int    `default:"1" help:"Threads of each model's context; the models of a pair run at the same time."`
	Cells          int    `default:"0" help:"Tokens held by all lanes of a pair together (0: 8192)."`
	Sequences      int    `default:"0" help:"Sequences that each model holds at once, for lanes and for earlier prompts (0: 128, or for a recurrent model as many states as take 1 GB, at least 16)."`
	GPULayers      string `name:"gpu-layers" default:"auto" placeholder:"N" help:"Layers of each model to hold on GPUs: auto (as many as fit), all, or a number, counted from the model's end, the output layer included."`
	Devices        string `default:"auto" placeholder:"NAME,…" help:"GPUs to use, of those that \"realign devices\" lists: auto (all), none, or names; CUDA0=3,CUDA1=1 splits each model in these proportions."`
	OnePass        string `name:"one-pass" default:"auto" enum:"auto,on,off" help:"Whether the reference and LoRA adapters on its weights are decoded in one pass (on), in a context each (off), or as is measured to be faster when the pair is loaded (auto)."`
	PlainAttention bool   `name:"plain-attention" help:"On the CPU, attend over the cache one key after another, by ggml's kernel, instead of in blocks of keys (which only builds for Linux have)."`
	PlainProducts  bool   `name:"plain-products" help:"On the CPU, multiply quantized weights by ggml's kernels instead of in tiles (which only builds for Linux on x86-64 with AVX2 have). It changes no number."`
	Speculate      bool   `help:"Let one model draft what may follow, where that is measured to be faster than a pass of both. It changes no token."`
	F32Cache       bool   `name:"f32-cache" hidden:"" help:"Keep keys and values in full precision, for comparing with other implementations."`
}

// Validate is called by kong before anything is done.
func (f modelFlags) Validate() error {
	_, err := f.offload()
	return asFlagError(err)
}

// offload is what the flags say of GPUs.
func (f modelFlags) offload() (gpu.Choice, error) {
	return gpu.ParseChoice(f.GPULayers, f.Devices)
}

// speculation is how an engine is to draft; nil: not at all.
func (f modelFlags) speculation() func() decode.Speculator {
	if f.Speculate {
		return speculate.Measured
	}
	return nil
}

// args are the flags as the command line of another process of this program has them.
func (f modelFlags) args() []string {
	args := []string{
		fmt.Sprint("--threads=", f.Threads), fmt.Sprint("--cells=", f.Cells), "--sequences=" + fmt.Sprint(f.Sequences), "--gpu-layers=" + f.GPULayers, "--devices=" + f.Devices,
		"--one-pass=" + f.OnePass,
	}
	if f.PlainAttention {
		args = append(args, "--plain-attention")
	}
	if f.PlainProducts {
		args = append(args, "--plain-products")
	}
	if f.Speculate {
		args = append(args, "--speculate")
	}
	if f.F32Cache {
		args = append(args, "--f32-cache")
	}
	return args
}
