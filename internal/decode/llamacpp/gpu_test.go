package llamacpp_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/decode/speculate"
	"realign/internal/gpu"
)

// The tests of this file need a GPU, or Mesa's software device: make gpu-test runs them, with REALIGN_GPU_TEST as the
// name of the backend that is to be used. They fail if layers are not on it.

// size is how much is tried.
type size struct {
	prompts, tokens int
	lambdas         []float64 // of lanes
}

// sizeOf is less for a device in software, which takes a tenth of a second and more for each pass.
func sizeOf(d gpu.Device) size {
	if strings.Contains(d.Description, "llvmpipe") {
		return size{3, 12, []float64{-0.5, 0.5, 2}}
	}
	return size{20, 40, []float64{-0.5, 0, 0.3, 0.5, 0.8, 1, 1.5, 2}}
}

// farthest is how far a logit may be from the CPU's. Logits are around 10 in size; the two round to eight bits at
// different places.
const farthest = 0.5

// notes gathers what llama.cpp says while it loads.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) Enabled(context.Context, slog.Level) bool { return true }
func (n *notes) WithAttrs([]slog.Attr) slog.Handler       { return n }
func (n *notes) WithGroup(string) slog.Handler            { return n }
func (n *notes) Handle(_ context.Context, r slog.Record) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, r.Message)
	return nil
}

// having is the lines that hold a text.
func (n *notes) having(text string) (list []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range n.lines {
		if strings.Contains(line, text) {
			list = append(list, line)
		}
	}
	return list
}

// gpuDevices are those of the backend under test.
func gpuDevices(t *testing.T) []gpu.Device {
	t.Helper()
	backend := os.Getenv("REALIGN_GPU_TEST")
	if backend == "" {
		t.Skip("REALIGN_GPU_TEST names no backend: see make gpu-test")
	}
	all, err := llamacpp.Devices()
	if err != nil {
		t.Fatal(err)
	}
	var devices []gpu.Device
	for _, d := range all {
		if strings.EqualFold(d.Backend, backend) {
			devices = append(devices, d)
		}
	}
	if len(devices) == 0 {
		t.Fatalf("%s has no device among %v", backend, all)
	}
	return devices
}

// openOn loads the demo pair, its aligned model too, with the two flags, and returns where its weights are.
func openOn(t *testing.T, layers, devices string) (*llamacpp.Pair, []gpu.Placement) {
	t.Helper()
	choice, err := gpu.ParseChoice(layers, devices)
	if err != nil {
		t.Fatal(err)
	}
	p := openDemoOn(t, choice)
	t.Cleanup(func() { p.Close() })
	if _, err := p.Aligned(p.AlignedNames()[0]); err != nil {
		t.Fatal(err)
	}
	return p, p.Placements()
}

// openGPU loads the demo pair with all layers of both models on one device, and fails if they are not there.
func openGPU(t *testing.T) (*llamacpp.Pair, gpu.Device) {
	t.Helper()
	device := gpuDevices(t)[0]
	said := new(notes)
	before := slog.Default()
	slog.SetDefault(slog.New(said))
	defer slog.SetDefault(before)
	p, placed := openOn(t, "all", device.Name)
	for _, at := range placed {
		if !at.Loaded || at.Offloaded() != at.Layers || len(at.On) != 1 || at.On[0].Device != device.Name {
			t.Fatalf("not all layers of %s are on %s: %s", at.Model, device.Name, at.Where())
		}
	}
	// A pass is computed in two parts: the lookup of embeddings in the main memory, the rest on the device. The two contexts
	// keep keys and values there too.
	for text, want := range map[string]string{"graph splits": "graph splits = 2", "KV buffer size": device.Name} {
		lines := said.having(text)
		if len(lines) != 2 {
			t.Fatalf("llama.cpp says of %s: %q", text, lines)
		}
		for _, line := range lines {
			if !strings.Contains(line, want) {
				t.Fatalf("not everything is on %s: %s", device.Name, line)
			}
		}
	}
	return p, device
}

// engine decodes on a pair until the test ends.
func engine(t *testing.T, p *llamacpp.Pair, c decode.Config) *decode.Engine {
	t.Helper()
	c.Kernel = llamacpp.Kernel{}
	e := decode.NewEngine(p, c)
	t.Cleanup(func() { e.Close() })
	return e
}

// both is the pair's two models.
func both(t *testing.T, p *llamacpp.Pair) [2]decode.Model {
	t.Helper()
	aligned, err := p.Aligned(p.AlignedNames()[0])
	if err != nil {
		t.Fatal(err)
	}
	return [2]decode.Model{p.Reference(), aligned}
}

// deviceMove is the largest difference that the device makes to a logit, over replies that the CPU gives. The engines
// that own the models are idle.
func deviceMove(t *testing.T, cpu, gpu *llamacpp.Pair, n size) (largest float64) {
	t.Helper()
	models, others := both(t, cpu), both(t, gpu)
	for i, m := range models {
		for _, prompt := range prompts(t)[:n.prompts] {
			r := chat(prompt, 0, 0, 0)
			history, err := cpu.Vocabulary().EncodeChat(r.Prompt.Messages)
			if err != nil {
				t.Fatal(err)
			}
			history = append(history, alone(t, m, cpu.Vocabulary(), r)...)
			var rows []decode.Row
			for pos, id := range history {
				rows = append(rows, decode.Row{Token: id, Pos: pos, Want: true})
			}
			// Fewer rows at once than llama.cpp copies layers of the main memory to a device for.
			for pass := range slices.Chunk(rows, 16) {
				for _, model := range []decode.Model{m, others[i]} {
					if err := model.Forward(pass); err != nil {
						t.Fatal(err)
					}
				}
				for at, row := range pass {
					a, b := m.Logits(at), others[i].Logits(at)
					for id := range a {
						d := math.Abs(float64(a[id]) - float64(b[id]))
						if math.IsNaN(d) {
							t.Fatalf("logit %d after token %d of %q is %v and %v", id, row.Pos, prompt, a[id], b[id])
						}
						largest = max(largest, d)
					}
				}
			}
			m.Trim(0, 0)
			others[i].Trim(0, 0)
		}
	}
	return largest
}

// rig is the demo pair on a device, and on the CPU.
type rig struct {
	gpu, cpu *llamacpp.Pair
	on, off  *decode.Engine // guesses, wherever it may
	size     size

	move  float64 // how far the device is from the CPU, in logits
	shape float64 // how far passes of other shapes are from each other, on the device
}

// TestGPU puts all layers on a device once, and tries what the engine does.
func TestGPU(t *testing.T) {
	gpu, device := openGPU(t)
	r := &rig{gpu: gpu, cpu: openDemo(t), size: sizeOf(device)}
	t.Cleanup(func() { r.cpu.Close() })
	r.move = deviceMove(t, r.cpu, r.gpu, r.size)
	r.shape = shapeMoveOver(t, r.gpu, 2, r.size.tokens)
	t.Logf("%s (%s) moves logits by at most %.2g, the shape of passes on it by %.2g", device.Name, device.Description, r.move, r.shape)
	if r.move > farthest || r.shape > farthest {
		t.Errorf("logits move by more than %v", farthest)
	}
	if r.move == 0 {
		t.Error("logits are the CPU's to the last bit: was the device used?")
	}
	t.Run("forks and trims", r.forksAndTrims)
	r.on, r.off = engine(t, r.gpu, decode.Config{Speculation: speculate.Alternating}), engine(t, r.cpu, decode.Config{})
	t.Run("greedy tokens", r.greedy)
	t.Run("lanes and guesses", r.lanes)
	t.Run("map", r.lambdaMap)
}

// greedy tokens of the device are the CPU's, at λ of both ends, between and beyond: so are the reference, the adapter on
// it, and their mixtures. Exceptions are as in demo_test.go, bounded by what the device moves logits by.
func (r *rig) greedy(t *testing.T) {
	compared, exceptions := 0, 0
	for _, prompt := range prompts(t)[:r.size.prompts] {
		for _, lambda := range []float64{0, 0.5, 1, 1.5} {
			request := chat(prompt, 0, 0, lambda)
			request.Plain, request.Sampling.MaxTokens = true, r.size.tokens
			got, _ := decoded(t, r.on, request)
			want, _ := decoded(t, r.off, request)
			compared++
			if !slices.Equal(ids(got[0]), ids(want[0])) {
				exceptions++
				checkException(t, r.cpu, request, lambda, ids(got[0]), ids(want[0]), r.move)
			}
		}
	}
	if exceptions*4 > compared {
		t.Errorf("%d of %d greedy texts differ", exceptions, compared)
	}
	t.Logf("%d texts compared, %d exceptions", compared, exceptions)
}

// forksAndTrims: continuations of one prefix in forked sequences, and again after a trim, have the logits that the CPU
// gives when it reads each history afresh.
func (r *rig) forksAndTrims(t *testing.T) {
	history, err := r.cpu.Vocabulary().EncodeChat([]decode.Message{{Role: "user", Content: prompts(t)[0]}})
	if err != nil {
		t.Fatal(err)
	}
	others := both(t, r.cpu)
	for i, m := range both(t, r.gpu) {
		check := func(what string, got []float32, tokens ...decode.Token) {
			t.Helper()
			want := read(t, others[i], 0, append(slices.Clone(history), tokens...))
			others[i].Trim(0, 0)
			for id := range want {
				if d := math.Abs(float64(want[id]) - float64(got[id])); !(d <= 2*r.move) {
					t.Fatalf("%s: logit %d is %v, on the CPU %v, where devices differ by %v", what, id, got[id], want[id], r.move)
				}
			}
		}
		check("read", read(t, m, 0, history))
		const forks = 4
		for seq := decode.Seq(1); seq < forks; seq++ {
			if n := m.Copy(seq, 0, len(history)); n != len(history) {
				t.Fatalf("%d of %d positions were copied", n, len(history))
			}
		}
		step := func(what string, offset int, place int) {
			var rows []decode.Row
			for seq := range decode.Seq(forks) {
				rows = append(rows, decode.Row{Token: decode.Token(300 + offset + 10*int(seq)), Pos: len(history) + place, Seq: seq, Want: true})
			}
			if err := m.Forward(rows); err != nil {
				t.Fatal(err)
			}
			var logits [][]float32
			for j := range rows {
				logits = append(logits, slices.Clone(m.Logits(j)))
			}
			for j, row := range rows {
				tokens := []decode.Token{row.Token}
				if place == 1 {
					tokens = []decode.Token{decode.Token(300 + 10*j), row.Token}
				}
				check(fmt.Sprintf("%s, sequence %d", what, j), logits[j], tokens...)
			}
		}
		step("fork", 0, 0)
		step("second token", 5, 1)
		for seq := range decode.Seq(forks) {
			if !m.Trim(seq, len(history)+1) {
				t.Fatal("the device's model does not forget")
			}
		}
		step("after a trim", 7, 1)
		for seq := range decode.Seq(forks) {
			m.Trim(seq, 0)
		}
	}
}

// lanes together, with their forks, are each lane alone with --plain, and so is every lane that guesses.
func (r *rig) lanes(t *testing.T) {
	compared, exceptions, accepted := 0, 0, int64(0)
	for i, prompt := range prompts(t)[:(r.size.prompts+1)/2] {
		request := chat(prompt, uint64(i), []float64{0, 0.7}[i%2], r.size.lambdas...)
		request.Sampling.MaxTokens = r.size.tokens
		together, _ := decoded(t, r.on, request)
		for lane, lambda := range r.size.lambdas {
			single := request
			single.Lanes = request.Lanes[lane : lane+1]
			guessed, stats := decoded(t, r.on, single)
			accepted += stats.Accepted
			single.Plain = true
			plain, _ := decoded(t, r.on, single)
			want := ids(plain[lane])
			for _, got := range [][]decode.Token{ids(together[lane]), ids(guessed[lane])} {
				compared++
				if !slices.Equal(got, want) {
					exceptions++
					checkException(t, r.gpu, request, lambda, got, want, r.shape)
				}
			}
		}
	}
	if accepted == 0 {
		t.Error("no guess was right")
	}
	t.Logf("%d lanes compared, %d exceptions; %d tokens were guessed", compared, exceptions, accepted)
}

// lambdaMap: a map of the device is what lanes on it say.
func (r *rig) lambdaMap(t *testing.T) {
	request := chat(prompts(t)[0], 7, 0.7)
	request.Map = &decode.Map{From: 0, To: 2, Branches: 64}
	request.Sampling.MaxTokens = r.size.tokens / 2
	var m decode.LambdaMap
	j, err := r.on.Start(request, m.Add)
	if err != nil {
		t.Fatal(err)
	}
	<-j.Done()
	if m.Covered() != 1 {
		t.Errorf("the map covers %v", m.Covered())
	}
	exceptions := 0
	for _, lambda := range []float64{0, 0.77, 1, 1.9} {
		single := request
		single.Map, single.Plain, single.Lanes = nil, true, []decode.Lane{{Lambda: decode.Vector{lambda}}}
		plain, _ := decoded(t, r.on, single)
		if got, want := m.At(lambda).Tokens, ids(plain[0]); !slices.Equal(got, want) {
			exceptions++
			checkException(t, r.gpu, request, lambda, got, want, r.shape)
		}
	}
	t.Logf("a map of %d branches, %d exceptions at 4 λ", len(m.Branches), exceptions)
}

// Part of the layers, the two models on two devices, and every model split over two: each says what the CPU says.
func TestGPUPlacements(t *testing.T) {
	devices := gpuDevices(t)
	cpu := openDemo(t)
	t.Cleanup(func() { cpu.Close() })
	off := engine(t, cpu, decode.Config{})
	// where is what is on each device of the reference, then of the adapters.
	where := func(placed []gpu.Placement) (list []string) {
		for _, at := range placed {
			for _, s := range at.On {
				list = append(list, fmt.Sprintf("%s:%d", s.Device, s.Layers))
			}
		}
		return list
	}
	first := devices[0].Name
	all := openedLayers(t)
	cases := []struct {
		layers, devices string
		want            []string
	}{
		{"2", first, []string{first + ":2", first + ":2"}},
	}
	if len(devices) > 1 {
		second := devices[1].Name
		share := (all + 1) / 2 // as llama.cpp splits in halves
		halves := []string{fmt.Sprint(first, ":", share), fmt.Sprint(second, ":", all-share)}
		cases = append(cases, []struct {
			layers, devices string
			want            []string
		}{
			{"auto", first + "," + second, []string{fmt.Sprint(first, ":", all), fmt.Sprint(second, ":", all)}},
			{"auto", first + "=1," + second + "=1", append(halves, halves...)},
		}...)
	} else {
		t.Log("there is one device: two are not tried")
	}
	for _, c := range cases {
		t.Run(c.layers+" on "+c.devices, func(t *testing.T) {
			p, placed := openOn(t, c.layers, c.devices)
			if got := where(placed); !slices.Equal(got, c.want) {
				t.Fatalf("layers are at %v, want %v", got, c.want)
			}
			n := sizeOf(devices[0])
			n.prompts = 1
			move := deviceMove(t, cpu, p, n)
			if move > farthest {
				t.Errorf("logits are up to %v from the CPU's", move)
			}
			on := engine(t, p, decode.Config{})
			for _, prompt := range prompts(t)[:n.prompts] {
				r := chat(prompt, 0, 0, 0.5)
				r.Sampling.MaxTokens = n.tokens / 2
				got, _ := decoded(t, on, r)
				want, _ := decoded(t, off, r)
				for lane := range r.Lanes {
					if !slices.Equal(ids(got[lane]), ids(want[lane])) {
						checkException(t, cpu, r, r.Lanes[lane].Lambda[0], ids(got[lane]), ids(want[lane]), move)
					}
				}
			}
		})
	}
}

// openedLayers is the number of layers of the demo's reference, the output layer included.
func openedLayers(t *testing.T) int {
	t.Helper()
	p := openDemo(t)
	defer p.Close()
	return p.Placements()[0].Layers
}
