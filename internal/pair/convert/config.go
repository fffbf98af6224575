package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"realign/internal/fault"
)

// maxConfig bounds a configuration in JSON, in bytes; vocabularies are larger.
const (
	maxConfig     = 4 << 20
	maxVocabulary = 256 << 20
)

// config is a model's config.json, in one form whatever version of transformers wrote it.
type config struct {
	values map[string]any // by name, as json.Unmarshal gives them
	rope   rope
}

// rope is how positions enter attention (RoPE). A field whose comment names a kind is of that kind only.
type rope struct {
	base      float64 // of the frequencies
	local     float64 // the same in layers with a window, 0 where it is no other
	kind      string  // how contexts longer than those of training are reached: "", linear, yarn, llama3, longrope
	factor    float64 // by how much
	low, high float64 // llama3: low_freq_factor and high_freq_factor
	attention float64 // yarn and longrope: factor of attention, 0: as the kind has it
	fast      float64 // yarn: beta_fast, and slow is beta_slow
	slow      float64
	original  int64     // tokens of context before
	long      []float64 // longrope: factor of each frequency beyond the original context
	short     []float64 // and within
	part      float64   // of each head that is rotated
}

// nonFinite are numbers that Python writes into JSON and JSON does not have.
var nonFinite = regexp.MustCompile(`([:\[,]\s*)-?(Infinity|NaN)\b`)

// readJSON reads a file of a folder, numbers as json.Number; Infinity and NaN become null. A file that is not there is
// fs.ErrNotExist, one of more than limit bytes Invalid.
func readJSON(dir, name string, limit int64, v any) error {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	if err == nil && info.Size() > limit {
		return fault.New(fault.Invalid, "%s has %d bytes, more than %d", path, info.Size(), limit)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be read", path)
	}
	d := json.NewDecoder(bytes.NewReader(nonFinite.ReplaceAll(data, []byte("${1}null"))))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fault.New(fault.Invalid, "%s is not the JSON that it should be: %v", path, err)
	}
	return nil
}

// omitted is what transformers leaves out of the configuration of a text model inside another: the values that its class has
// anyway.
var omitted = map[string]map[string]any{
	"Gemma3ForConditionalGeneration": {
		"num_attention_heads": json.Number("8"), "num_key_value_heads": json.Number("4"), "head_dim": json.Number("256"), "query_pre_attn_scalar": json.Number("256"),
		"rms_norm_eps": json.Number("1e-6"), "max_position_embeddings": json.Number("131072"), "sliding_window": json.Number("4096"),
		"rope_theta": json.Number("1000000"), "rope_local_base_freq": json.Number("10000"),
	},
}

// readConfig reads config.json. Of a model with a text model inside it is that one's. It is Invalid for a folder without
// one and for weights that are quantised.
func readConfig(dir string) (*config, error) {
	c := &config{values: map[string]any{}}
	if err := readJSON(dir, "config.json", maxConfig, &c.values); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Invalid, "%s has no config.json: it is no folder of a model", dir)
	} else if err != nil {
		return nil, err
	}
	if c.Architecture() == "" {
		return nil, fault.New(fault.Invalid, "%s: config.json names no architecture", dir)
	}
	if q, ok := c.values["quantization_config"].(map[string]any); ok {
		method, _ := q["quant_method"].(string)
		return nil, fault.New(fault.Invalid, "%s holds quantised weights (%.40q): take the model that they were made of, and --quantize", dir, method)
	}
	if inner, ok := c.values["text_config"].(map[string]any); ok {
		for key, value := range inner {
			if key != "architectures" {
				c.values[key] = value
			}
		}
		delete(c.values, "text_config")
		for key, value := range omitted[c.Architecture()] {
			if _, ok := c.values[key]; !ok {
				c.values[key] = value
			}
		}
	}
	var err error
	c.rope, err = c.readRope()
	return c, err
}

// Architecture is the class of transformers that the model is of.
func (c *config) Architecture() string {
	if list, ok := c.values["architectures"].([]any); ok && len(list) > 0 {
		name, _ := list[0].(string)
		return name
	}
	return ""
}

// number is a number of a configuration; false for everything else.
func number(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

// float is the first of some numbers that is there, or 0.
func (c *config) float(names ...string) float64 {
	for _, name := range names {
		if f, ok := number(c.values[name]); ok {
			return f
		}
	}
	return 0
}

// uint is the first of some numbers that is there, as a whole one. One that is missing, negative, larger than 2³¹
// or not whole is 0.
func (c *config) uint(names ...string) uint32 {
	f := c.float(names...)
	if f < 0 || f > 1<<31 || f != float64(uint32(f)) {
		return 0
	}
	return uint32(f)
}

// flag is true or false, and otherwise where the configuration has neither.
func (c *config) flag(name string, otherwise bool) bool {
	if b, ok := c.values[name].(bool); ok {
		return b
	}
	return otherwise
}

// text is a text, "" where there is none.
func (c *config) text(name string) string {
	s, _ := c.values[name].(string)
	return s
}

// texts are the texts of a list; what is no text is left out.
func (c *config) texts(name string) (list []string) {
	values, _ := c.values[name].([]any)
	for _, v := range values {
		if s, ok := v.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// headSize is the number of dimensions of a head of attention.
func (c *config) headSize() uint32 {
	if n := c.uint("head_dim"); n > 0 {
		return n
	}
	return c.uint("hidden_size") / max(c.uint("num_attention_heads"), 1)
}

// readRope reads the positions: since version 5, transformers writes all of it as rope_parameters, before it was rope_theta
// and rope_scaling. There may be a set for each kind of layer.
func (c *config) readRope() (rope, error) {
	r := rope{base: c.float("rope_theta", "rotary_emb_base"), local: c.float("rope_local_base_freq"), part: c.float("partial_rotary_factor", "rotary_pct")}
	scaling, _ := c.values["rope_scaling"].(map[string]any)
	if all, ok := c.values["rope_parameters"].(map[string]any); ok {
		scaling = all
		if full, ok := all["full_attention"].(map[string]any); ok {
			scaling = full
			if local, ok := all["sliding_attention"].(map[string]any); ok {
				r.local, _ = number(local["rope_theta"])
			}
		}
	}
	get := func(name string, otherwise float64) float64 {
		if f, ok := number(scaling[name]); ok {
			return f
		}
		return otherwise
	}
	r.base, r.part = get("rope_theta", r.base), get("partial_rotary_factor", r.part)
	if r.part == 0 {
		r.part = 1
	}
	for _, name := range []string{"type", "rope_type"} {
		if kind, ok := scaling[name].(string); ok {
			r.kind = kind
		}
	}
	r.factor, r.low, r.high = get("factor", 1), get("low_freq_factor", 1), get("high_freq_factor", 4)
	r.attention, r.fast, r.slow = get("attention_factor", 0), get("beta_fast", 0), get("beta_slow", 0)
	r.original = int64(get("original_max_position_embeddings", c.float("original_max_position_embeddings")))
	r.long, r.short = numbers(scaling["long_factor"]), numbers(scaling["short_factor"])
	switch r.kind {
	case "default", "dynamic", "mrope": // as before within the context of training
		r.kind = ""
	case "su":
		r.kind = "longrope"
	}
	if !slices.Contains([]string{"", "linear", "yarn", "llama3", "longrope"}, r.kind) {
		return r, fault.New(fault.Invalid, "positions of kind %.40q are not converted here", r.kind)
	}
	return r, nil
}

// numbers is a list of numbers, with 0 for what is none.
func numbers(v any) (list []float64) {
	values, _ := v.([]any)
	for _, v := range values {
		f, _ := number(v)
		list = append(list, f)
	}
	return list
}
