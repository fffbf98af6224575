package gpu_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
	"realign/internal/gpu"
)

const gb = 1_000_000_000

// card is a device with so many bytes beyond the reserve.
func card(name string, usable int64) gpu.Device {
	return gpu.Device{Name: name, Description: "a card", Backend: "CUDA", Total: usable, Free: usable + max(256<<20, usable/20)}
}

// need is a model of layers of one size and an output layer twice as large, with caches of a tenth.
func need(model string, layers int, size int64) gpu.Need {
	n := gpu.Need{Model: model, Contexts: 1}
	for range layers {
		n.Layers = append(n.Layers, gpu.Layer{Weights: size, Cache: size / 10})
	}
	n.Layers = append(n.Layers, gpu.Layer{Weights: 2 * size})
	return n
}

func adapters(reference gpu.Need, contexts int) gpu.Need {
	n := reference
	n.Model, n.OnReference, n.Contexts = "adapters", true, contexts
	return n
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		layers, devices string
		want            string
	}{
		{"auto", "auto", "{-2 [] false}"},
		{"", "", "{-2 [] false}"},
		{"all", "auto", "{-1 [] false}"},
		{"-1", "auto", "{-1 [] false}"},
		{"0", "none", "{0 [] true}"},
		{"auto", "none", "{-2 [] true}"},
		{"12", "CUDA1, CUDA0", "{12 [{CUDA1 0} {CUDA0 0}] false}"},
		{"auto", "CUDA0=3,CUDA1=1.5", "{-2 [{CUDA0 3} {CUDA1 1.5}] false}"},
	} {
		got, err := gpu.ParseChoice(c.layers, c.devices)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%q and %q are %v, %v, want %s", c.layers, c.devices, got, err, c.want)
		}
	}
	for _, c := range [][3]string{
		{"many", "auto", "gpu_layers"}, {"-2", "auto", "gpu_layers"}, {"1.5", "auto", "gpu_layers"},
		{"auto", ",", "devices"}, {"auto", "CUDA0,cuda0", "devices"}, {"auto", "CUDA0=3,CUDA1", "devices"},
		{"auto", "CUDA0=0", "devices"}, {"auto", "CUDA0=NaN", "devices"}, {"auto", "CUDA0=x", "devices"}, {"auto", "=1", "devices"},
		{"all", "none", "devices"}, {"3", "none", "devices"},
	} {
		if _, err := gpu.ParseChoice(c[0], c[1]); fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != c[2] {
			t.Errorf("error for %q and %q is %v, want one about %s", c[0], c[1], err, c[2])
		}
	}
}

// NewPlan, as what it says of each model.
func TestMake(t *testing.T) {
	small := need("reference", 9, gb/10) // with the output layer 1.1 GB, and 0.09 of cache
	large := need("reference", 9, gb)
	one, two := card("CUDA0", 4*gb), card("CUDA1", 4*gb)
	integrated := card("Vulkan1", 9*gb)
	integrated.Integrated = true
	seen := card("Vulkan0", 4*gb)
	one.ID, seen.ID = "0000:01:00.0", "0000:01:00.0"
	for name, c := range map[string]struct {
		devices         []gpu.Device
		needs           []gpu.Need
		layers, choices string
		want            []string
	}{
		"no GPU":        {nil, []gpu.Need{small}, "auto", "auto", []string{"CPU; no GPU was found"}},
		"none wanted":   {[]gpu.Device{one}, []gpu.Need{small}, "auto", "none", []string{"CPU; no device is to be used"}},
		"no layer":      {[]gpu.Device{one}, []gpu.Need{small}, "0", "auto", []string{"CPU; no layer is to be offloaded"}},
		"all on one":    {[]gpu.Device{one}, []gpu.Need{small, adapters(small, 2)}, "auto", "auto", []string{"10 of 10 layers on CUDA0 (1.2 GB)", "10 of 10 layers on CUDA0 (180.0 MB)"}},
		"apart":         {[]gpu.Device{one, two}, []gpu.Need{small, need("other", 9, gb/10)}, "auto", "auto", []string{"10 of 10 layers on CUDA0 (1.2 GB)", "10 of 10 layers on CUDA1 (1.2 GB)"}},
		"adapter apart": {[]gpu.Device{one, two}, []gpu.Need{small, adapters(small, 1)}, "auto", "auto", []string{"10 of 10 layers on CUDA0 (1.2 GB)", "10 of 10 layers on CUDA1 (1.2 GB)"}},
		// The reference fits, the weights do not fit a second time: both on one.
		"adapter beside": {[]gpu.Device{card("CUDA1", gb), one}, []gpu.Need{small, adapters(small, 1)}, "auto", "auto", []string{"10 of 10 layers on CUDA0 (1.2 GB)", "10 of 10 layers on CUDA0 (90.0 MB)"}},
		"order wanted":   {[]gpu.Device{one, two}, []gpu.Need{small, need("other", 9, gb/10)}, "auto", "cuda1,CUDA0", []string{"10 of 10 layers on CUDA1 (1.2 GB)", "10 of 10 layers on CUDA0 (1.2 GB)"}},
		"larger takes the larger": {[]gpu.Device{card("CUDA0", 2*gb), card("CUDA1", 13*gb)}, []gpu.Need{large, need("other", 9, gb/10)}, "auto", "auto",
			[]string{"10 of 10 layers on CUDA1 (11.9 GB)", "10 of 10 layers on CUDA0 (1.2 GB)"}},
		"split":       {[]gpu.Device{card("CUDA0", 8*gb), card("CUDA1", 8*gb)}, []gpu.Need{large}, "auto", "auto", []string{"10 of 10 layers on devices: 5 on CUDA0 (5.5 GB), 5 on CUDA1 (6.4 GB)"}},
		"shares":      {[]gpu.Device{one, two}, []gpu.Need{small, adapters(small, 1)}, "auto", "CUDA0=4,CUDA1=1", []string{"10 of 10 layers on devices: 8 on CUDA0 (880.0 MB), 2 on CUDA1 (310.0 MB)", "10 of 10 layers on devices: 8 on CUDA0 (80.0 MB), 2 on CUDA1 (10.0 MB)"}},
		"part":        {[]gpu.Device{one}, []gpu.Need{large}, "auto", "auto", []string{"3 of 10 layers on CUDA0 (3.3 GB); no more fit into what is free on CUDA0 (a card, 4.3 GB of 4.0 GB free)"}},
		"nothing":     {[]gpu.Device{card("CUDA0", gb/2)}, []gpu.Need{large}, "auto", "auto", []string{"CPU; not one layer of each model fits into what is free on CUDA0 (a card, 768.4 MB of 500.0 MB free)"}},
		"as told":     {[]gpu.Device{one}, []gpu.Need{large}, "7", "auto", []string{"7 of 10 layers on CUDA0 (7.7 GB)"}},
		"all as told": {[]gpu.Device{one}, []gpu.Need{large}, "all", "auto", []string{"10 of 10 layers on CUDA0 (11.9 GB)"}},
		"one of two":  {[]gpu.Device{one, two}, []gpu.Need{small}, "3", "CUDA1", []string{"3 of 10 layers on CUDA1 (330.0 MB)"}},
		"same card":   {[]gpu.Device{one, seen}, []gpu.Need{small, need("other", 9, gb/10)}, "auto", "auto", []string{"10 of 10 layers on CUDA0 (1.2 GB)", "10 of 10 layers on CUDA0 (1.2 GB)"}},
		"integrated":  {[]gpu.Device{integrated, two}, []gpu.Need{small}, "auto", "auto", []string{"10 of 10 layers on CUDA1 (1.2 GB)"}},
		"wanted":      {[]gpu.Device{integrated, two}, []gpu.Need{small}, "auto", "Vulkan1", []string{"10 of 10 layers on Vulkan1 (1.2 GB)"}},
	} {
		t.Run(name, func(t *testing.T) {
			choice, err := gpu.ParseChoice(c.layers, c.choices)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := gpu.NewPlan(c.devices, c.needs, choice)
			if err != nil {
				t.Fatal(err)
			}
			for i, m := range plan.Models {
				if m.Where() != c.want[i] {
					t.Errorf("%s: %s, want %s", m.Model, m.Where(), c.want[i])
				}
				if m.Offloaded() != m.Count || m.Loaded {
					t.Errorf("%s: %d layers where %d are to be offloaded", m.Model, m.Offloaded(), m.Count)
				}
			}
		})
	}
}

func TestMakeRefuses(t *testing.T) {
	devices := []gpu.Device{card("CUDA0", 4*gb), card("CUDA1", 4*gb)}
	for _, c := range []struct {
		devices         []gpu.Device
		layers, choices string
		field, say      string
	}{
		{devices, "11", "auto", "gpu_layers", "11 is not between 0 and 10: reference has 9 layers and an output layer"},
		{devices, "auto", "Vulkan7", "devices", `there is no device "Vulkan7", but CUDA0 (a card, 4.3 GB of 4.0 GB free), CUDA1`},
		{nil, "auto", "Vulkan7", "devices", "no GPU was found"},
		{nil, "all", "auto", "gpu_layers", "no GPU was found"},
		{nil, "3", "auto", "gpu_layers", "no GPU was found"},
	} {
		choice, err := gpu.ParseChoice(c.layers, c.choices)
		if err != nil {
			t.Fatal(err)
		}
		_, err = gpu.NewPlan(c.devices, []gpu.Need{need("reference", 9, gb)}, choice)
		if fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != c.field || !strings.Contains(err.Error(), c.say) {
			t.Errorf("error is %v, want %s: %s", err, c.field, c.say)
		}
	}
}

// Whatever is free, a plan of auto fits, and one more layer would not.
func TestAutoIsLargest(t *testing.T) {
	reference := need("reference", 9, gb)
	needs := []gpu.Need{reference, adapters(reference, 1)}
	auto, _ := gpu.ParseChoice("auto", "auto")
	used := func(p gpu.Plan, device string) (sum int64) {
		for _, m := range p.Models {
			for _, s := range m.On {
				if s.Device == device {
					sum += s.Bytes
				}
			}
		}
		return sum
	}
	before := 0
	for usable := int64(0); usable < 30*gb; usable += gb / 3 {
		devices := []gpu.Device{card("CUDA0", usable), card("CUDA1", usable/2)}
		plan, err := gpu.NewPlan(devices, needs, auto)
		if err != nil {
			t.Fatal(err)
		}
		for i, free := range []int64{usable, usable / 2} {
			if got := used(plan, devices[i].Name); got > free {
				t.Errorf("with %d bytes, %s is to hold %d", free, devices[i].Name, got)
			}
		}
		n := plan.Models[0].Offloaded()
		if n < before {
			t.Errorf("with %d bytes %d layers fit, with less %d", usable, n, before)
		}
		if before = n; n == 10 {
			continue
		}
		more, _ := gpu.ParseChoice(fmt.Sprint(n+1), "auto")
		if plan, err = gpu.NewPlan(devices, needs, more); err != nil {
			t.Fatal(err)
		}
		if used(plan, "CUDA0") <= usable && used(plan, "CUDA1") <= usable/2 {
			t.Errorf("with %d bytes %d layers were planned, but %d fit", usable, n, n+1)
		}
	}
	if before != 10 {
		t.Error("the largest devices do not hold all layers")
	}
}

func TestOf(t *testing.T) {
	data := gguftest.Model(1).Bytes()
	file, err := gguf.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	n := gpu.NeedOf("reference", file, gpu.Context{Cells: 100, Batch: 8, CacheBytes: 2}, 1)
	blocks, _ := file.Integer("llama.block_count")
	if int64(len(n.Layers)) != blocks+1 {
		t.Fatalf("%d layers", len(n.Layers))
	}
	sum, whole := int64(0), int64(0)
	for _, l := range n.Layers {
		sum += l.Weights
	}
	for _, tensor := range file.Tensors {
		whole += int64(tensor.Bytes)
	}
	embedding, _ := file.Tensor("token_embd.weight")
	if _, own := file.Tensor("output.weight"); own {
		whole -= int64(embedding.Bytes) // stays in the main memory
	}
	if sum != whole {
		t.Errorf("layers weigh %d, tensors %d", sum, whole)
	}
	k, ok := file.Tensor("blk.0.attn_k.weight")
	if v, _ := file.Tensor("blk.0.attn_v.weight"); !ok || n.Layers[0].Cache != 100*2*int64(k.Shape[1]+v.Shape[1]) {
		t.Errorf("a layer's cache is %d bytes for keys of %v and values of %v", n.Layers[0].Cache, k.Shape, v.Shape)
	}
	if n.Work <= 0 || n.Layers[blocks].Cache != 8*4*int64(embedding.Shape[1]) {
		t.Errorf("needs are %+v", n)
	}
}
