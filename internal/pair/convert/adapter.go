package convert

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ollama/ollama/convert"
	"github.com/ollama/ollama/fs/ggml"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// adapterConfig is adapter_config.json, as far as it matters here.
type adapterConfig struct {
	Kind         string             `json:"peft_type"`
	Base         string             `json:"base_model_name_or_path"` // the base model's repository or folder
	Rank         int                `json:"r"`                       // inner dimension of the products; single modules may have another
	Alpha        float64            `json:"lora_alpha"`              // times the product, over the rank: see strength
	Stable       bool               `json:"use_rslora"`              // over the root of the rank instead
	DoRA         bool               `json:"use_dora"`                // not converted, as are Transposed, a Bias and ALoRA
	Transposed   bool               `json:"fan_in_fan_out"`
	Bias         string             `json:"bias"`
	RankPattern  map[string]int     `json:"rank_pattern"`    // not needed: the shape of the factors tells their rank
	AlphaPattern map[string]float64 `json:"alpha_pattern"`   // Alpha of single modules, by a pattern of their names
	Saved        []string           `json:"modules_to_save"` // their weights are found among the tensors, and refused there
	ALoRA        []int              `json:"alora_invocation_tokens"`
}

// factors are the two halves of what an adapter adds to a weight.
type factors struct {
	module    string  // its name in transformers
	weight    string  // its name in GGUF
	a, b      *tensor // b·a is added to the weight: a has as many rows as b columns
	embedding bool    // of the embedding of tokens: its first factor is written transposed
}

// Adapter writes a PEFT folder as a LoRA adapter for a base model. The error is Invalid, and says what to do, for what cannot
// be an adapter in GGUF.
func Adapter(ctx context.Context, dir, out string, base *gguf.File, o Options) error {
	var c adapterConfig
	if err := readJSON(dir, "adapter_config.json", maxConfig, &c); errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Invalid, "%s has no adapter_config.json: it is no folder of a PEFT adapter", dir)
	} else if err != nil {
		return err
	}
	if err := c.check(dir); err != nil {
		return err
	}
	family, ok := familyOf(base.Architecture())
	if !ok {
		return fault.New(fault.Invalid, "adapters for models of architecture %q are not converted here; llama.cpp's own script may: %s", base.Architecture(), adapterScript(dir))
	}
	source, err := openSource(ctx, dir, adapterFiles, o.Progress)
	if err != nil {
		return err
	}
	defer source.Close()
	pairs, err := c.pairs(dir, family, base, source.tensors)
	if err != nil {
		return err
	}
	alpha, tensors, err := c.lay(family, base, pairs)
	if err != nil {
		return err
	}
	keys := convert.KV{
		"general.architecture": family.name, "general.type": "adapter", "general.name": named(dir, o.Name), "general.file_type": uint32(0),
		"adapter.type": "lora", "adapter.lora.alpha": float32(alpha),
	}
	if name := path.Base(filepath.ToSlash(c.Base)); name != "" && name != "." && name != "/" {
		keys["general.base_model.count"] = uint32(1)
		keys["general.base_model.0.name"] = name
	}
	if err := write(out, keys, tensors); err != nil {
		return err
	}
	return checkWritten(out, base)
}

// adapterScript is llama.cpp's command for the adapter.
func adapterScript(dir string) string {
	return fmt.Sprintf("python convert_lora_to_gguf.py %s --base FOLDER --outfile adapter.gguf", dir)
}

// merge is how everything that is no plain LoRA can be used.
const merge = "merge it into a whole model (PEFT's merge_and_unload, then save_pretrained) and give the folder as --aligned"

// check reports what llama.cpp's adapters have no form for: Invalid, with what to do instead.
func (c *adapterConfig) check(dir string) error {
	no := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "%s %s: %s", dir, fmt.Sprintf(format, args...), merge)
	}
	switch {
	case c.Kind != "LORA":
		return no("is a PEFT adapter of kind %.40q, and only LORA can be laid over a GGUF model", c.Kind)
	case c.DoRA:
		return no("is a DoRA adapter")
	case len(c.ALoRA) > 0:
		return no("is an activated LoRA")
	case c.Transposed:
		return no("has its factors transposed (fan_in_fan_out)")
	case c.Bias != "" && c.Bias != "none":
		return no("changes biases (%.40q)", c.Bias)
	case c.Rank <= 0 || !(math.Abs(c.Alpha) > 0):
		return fault.New(fault.Invalid, "%s: adapter_config.json says r %d and lora_alpha %v", dir, c.Rank, c.Alpha)
	}
	return nil
}

// adapterFiles is the file of an adapter, relative to its folder. Weights in a pickle are Invalid.
func adapterFiles(dir string) ([]string, error) {
	const name = "adapter_model.safetensors"
	if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
		return []string{name}, nil
	}
	if _, err := os.Stat(filepath.Join(dir, "adapter_model.bin")); err == nil {
		return nil, fault.New(fault.Invalid, "%s holds its weights as a pickle (adapter_model.bin), which can run programs and is not read: save it with safe_serialization=True", dir)
	}
	return nil, fault.New(fault.Invalid, "%s has no %s", dir, name)
}

// half recognises the factors in PEFT's names: MODULE.lora_A.weight, or with the adapter's name before "weight".
var half = regexp.MustCompile(`^(?:base_model\.model\.)?(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B)(?:\.[A-Za-z0-9_-]+)?$`)

// pairs puts the factors of each weight together, in the order of the tensors. It is Invalid where a tensor is no factor,
// where the base model does not have the weight, and where two factors do not belong together.
func (c *adapterConfig) pairs(dir string, f family, base *gguf.File, source []*tensor) ([]*factors, error) {
	names, err := f.replacements()
	if err != nil {
		return nil, err
	}
	replacer := strings.NewReplacer(names...)
	var list []*factors
	for _, t := range source {
		m := half.FindStringSubmatch(strings.TrimSuffix(t.name, ".weight"))
		if m == nil {
			return nil, fault.New(fault.Invalid, "%s changes %.80q as a whole: %s", dir, t.name, merge)
		}
		module, ok := textOnly(m[1])
		if !ok {
			return nil, fault.New(fault.Invalid, "%s changes %.80q, which belongs to a vision model", dir, t.name)
		}
		if len(t.shape) != 2 {
			return nil, fault.New(fault.Invalid, "%s: %.80q has shape %v, and factors have two dimensions", dir, t.name, t.shape)
		}
		weight := replacer.Replace(module + ".weight")
		if _, ok := base.Tensor(weight); !ok {
			return nil, fault.New(fault.Invalid, "%s changes %.80q, which the base model does not have: it is for another model", dir, module)
		}
		i := slices.IndexFunc(list, func(p *factors) bool { return p.weight == weight })
		if i < 0 {
			i, list = len(list), append(list, &factors{module: module, weight: weight, embedding: strings.HasPrefix(m[2], "lora_embedding")})
		}
		if strings.HasSuffix(m[2], "A") {
			list[i].a = t
		} else {
			list[i].b = t
		}
	}
	for _, p := range list {
		if p.a == nil || p.b == nil {
			return nil, fault.New(fault.Invalid, "%s holds one factor of %.80q and not the other", dir, p.module)
		}
		if p.a.shape[0] != p.b.shape[1] {
			return nil, fault.New(fault.Invalid, "%s: the factors of %.80q are of shapes %v and %v, which do not multiply", dir, p.module, p.a.shape, p.b.shape)
		}
	}
	if len(list) == 0 {
		return nil, fault.New(fault.Invalid, "%s changes nothing", dir)
	}
	return list, nil
}

// strength is what the product of a module's factors is multiplied by: alpha over the rank, or over its root.
func (c *adapterConfig) strength(p *factors) float64 {
	alpha := c.Alpha
	for pattern, value := range c.AlphaPattern {
		if matches(pattern, p.module) {
			alpha = value
		}
	}
	rank := float64(p.a.shape[0])
	if c.Stable {
		rank = math.Sqrt(rank)
	}
	return alpha / rank
}

// matches reports whether a key of rank_pattern or alpha_pattern, a regular expression for the end of a module's name, is
// about a module. One that Go does not know is compared as it is.
func matches(pattern, module string) bool {
	e, err := regexp.Compile(`^(?:.*\.)?(?:` + pattern + `)$`)
	if err != nil {
		return strings.HasSuffix(module, pattern)
	}
	return e.MatchString(module)
}

// lay makes the tensors. llama.cpp applies each product times alpha over its rank, with one alpha for all: that of the
// first; where another module is to be applied otherwise, its second factor is scaled.
// alpha is written into the file's head.
func (c *adapterConfig) lay(f family, base *gguf.File, list []*factors) (alpha float64, out []*ggml.Tensor, err error) {
	att := attention{}
	heads, _ := base.Integer(f.name + ".attention.head_count")
	groups, ok := base.Integer(f.name + ".attention.head_count_kv")
	if !ok {
		groups = heads
	}
	att.heads, att.groups = int(heads), int(groups)
	for i, p := range list {
		rank := float64(p.a.shape[0])
		want := c.strength(p) * rank
		if i == 0 {
			alpha = want
		}
		p.a.name, p.b.name = p.weight+".lora_a", p.weight+".lora_b"
		p.a.kind, p.b.kind = kindF32, kindF32
		var rows []int
		if f.order != nil {
			rows = f.order(att, p.weight, int(p.b.shape[0]))
		}
		if scale := want / alpha; scale != 1 || rows != nil {
			p.b.SetRepacker(func(_ string, values []float32, _ []uint64) ([]float32, error) {
				for i := range values {
					values[i] = float32(float64(values[i]) * scale)
				}
				if rows == nil {
					return values, nil
				}
				return reordered(values, rows)
			})
		}
		if p.embedding { // its first factor is looked up by rows, one a token
			p.a.SetRepacker(transposed)
			p.a.shape = []uint64{p.a.shape[1], p.a.shape[0]}
		}
		for _, t := range []*tensor{p.a, p.b} {
			out = append(out, &ggml.Tensor{Name: t.name, Kind: t.Kind(), Shape: t.shape, WriterTo: t})
		}
	}
	return alpha, out, nil
}

// transposed is values with rows and columns exchanged, for a tensor whose shape is as it is to be.
func transposed(_ string, values []float32, shape []uint64) ([]float32, error) {
	rows, columns := int(shape[0]), int(shape[1])
	out := make([]float32, len(values))
	for i := range rows {
		for j := range columns {
			out[i*columns+j] = values[j*rows+i]
		}
	}
	return out, nil
}
