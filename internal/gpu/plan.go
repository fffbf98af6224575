package gpu

import (
	"fmt"
	"slices"

	"realign/internal/fault"
)

// Plan is where each model goes.
type Plan struct {
	Models []Model // in the order of the needs
}

// Model is what a loader is to be told for one model.
type Model struct {
	Placement
	Count   int       // layers to offload, from the model's end
	Devices []Device  // that are used; empty: the CPU only
	Split   []float64 // proportions in which the devices hold its layers, by device
}

// NewPlan plans where models go. What is free on a device is used up to a reserve. In this order it takes the first that
// fits whole: the first two models on two devices; all on one device; all split over the devices in proportion to
// what is free there. If none does, as many layers of each as fit, the same share of each model. A number of layers that
// was asked for is taken as told, even if it does not seem to fit.
// Errors are Invalid and name the flag.
func NewPlan(devices []Device, needs []Need, c Choice) (Plan, error) {
	picked, shares, err := c.pick(devices)
	if err != nil {
		return Plan{}, err
	}
	for _, n := range needs {
		if c.Layers > n.total() {
			return Plan{}, fault.Field("gpu_layers", "%d is not between 0 and %d: %s has %d layers and an output layer", c.Layers, n.total(), n.Model, n.total()-1)
		}
	}
	p := planner{devices: picked, needs: needs, weights: make([]float64, len(picked))}
	for i, d := range picked {
		p.budgets = append(p.budgets, max(d.Free-reserve(d), 0))
		p.weights[i] = max(float64(p.budgets[i]), 1)
	}
	split := len(shares) > 0
	if split {
		p.weights = shares
	}
	switch {
	case len(devices) == 0:
		return p.cpu("no GPU was found"), nil
	case c.None || len(picked) == 0:
		return p.cpu("no device is to be used"), nil
	case c.Layers == 0:
		return p.cpu("no layer is to be offloaded"), nil
	}
	counts := p.counts(c.Layers)
	if !split {
		if layout, ok := p.apart(counts); ok {
			return p.plan(layout), nil
		}
		if layout, ok := p.together(counts); ok {
			return p.plan(layout), nil
		}
	}
	if layout := p.over(counts); c.Layers != Auto || p.fits(layout) {
		return p.plan(layout), nil
	}
	return p.largest(), nil
}

// reserve is what is left free for the driver, other programs and the memory's pieces.
func reserve(d Device) int64 { return max(256<<20, d.Total/20) }

// planner is what a plan is made of: the devices that were picked, in their order, and what models need.
type planner struct {
	devices []Device
	needs   []Need
	budgets []int64   // bytes that may be used of each device
	weights []float64 // in what proportion models are split
}

// layout is for each model how many layers go to devices, and the weight of each device.
type layout []spread

// spread is how one model's layers go to the devices.
type spread struct {
	count   int       // layers on devices, from the model's end
	weights []float64 // by the planner's devices; 0: the device is not used
}

// counts is the number of layers of each model that were asked for; all for Auto.
func (p planner) counts(layers int) []int {
	counts := make([]int, len(p.needs))
	for i, n := range p.needs {
		counts[i] = n.total()
		if layers >= 0 {
			counts[i] = layers
		}
	}
	return counts
}

// on is a spread on one device.
func (p planner) on(device, count int) spread {
	w := make([]float64, len(p.devices))
	w[device] = 1
	return spread{count, w}
}

// apart puts the first model and the others on two devices.
func (p planner) apart(counts []int) (layout, bool) {
	if len(p.needs) < 2 {
		return nil, false
	}
	for i := range p.devices {
		for j := range p.devices {
			if i == j {
				continue
			}
			l := layout{p.on(i, counts[0])}
			for k := 1; k < len(p.needs); k++ {
				l = append(l, p.on(j, counts[k]))
			}
			if p.fits(l) {
				return l, true
			}
		}
	}
	return nil, false
}

// together puts all models on the first device that holds them.
func (p planner) together(counts []int) (layout, bool) {
	for i := range p.devices {
		var l layout
		for k := range p.needs {
			l = append(l, p.on(i, counts[k]))
		}
		if p.fits(l) {
			return l, true
		}
	}
	return nil, false
}

// over splits all models over all devices.
func (p planner) over(counts []int) (l layout) {
	for k := range p.needs {
		l = append(l, spread{counts[k], p.weights})
	}
	return l
}

// largest splits as many layers as fit, the same share of each model; none where not one layer of each fits.
func (p planner) largest() Plan {
	most := p.needs[0].total()
	for n := most - 1; n > 0; n-- {
		var counts []int
		for _, need := range p.needs {
			counts = append(counts, need.total()*n/most)
		}
		l := p.over(counts)
		if !p.fits(l) {
			continue
		}
		plan := p.plan(l)
		for i := range plan.Models {
			plan.Models[i].Note = fmt.Sprintf("no more fit into what is free on %s", names(p.devices))
		}
		return plan
	}
	return p.cpu("not one layer of each model fits into what is free on " + names(p.devices))
}

// use is the bytes that a layout takes of each device, for each model, and where its layers are.
func (p planner) use(l layout) (bytes [][]int64, layers [][]int) {
	for k, need := range p.needs {
		// On the devices that hold the reference its weights are there already.
		if need.OnReference && k > 0 && l[k].count == l[0].count && slices.Equal(l[k].weights, l[0].weights) {
			need = need.withoutWeights()
		}
		used, index := []float64{}, []int{}
		for d, w := range l[k].weights {
			if w > 0 {
				used, index = append(used, w), append(index, d)
			}
		}
		b, n := need.take(l[k].count, used)
		all, counts := make([]int64, len(p.devices)), make([]int, len(p.devices))
		for i, d := range index {
			all[d], counts[d] = b[i], n[i]
		}
		bytes, layers = append(bytes, all), append(layers, counts)
	}
	return bytes, layers
}

// fits reports whether a layout stays within the budget of every device.
func (p planner) fits(l layout) bool {
	bytes, _ := p.use(l)
	for d := range p.devices {
		sum := int64(0)
		for k := range bytes {
			sum += bytes[k][d]
		}
		if sum > p.budgets[d] {
			return false
		}
	}
	return true
}

// plan is a layout in the words of the loader.
func (p planner) plan(l layout) Plan {
	var plan Plan
	bytes, layers := p.use(l)
	for k, need := range p.needs {
		m := Model{Placement: Placement{Model: need.Model, Layers: need.total()}, Count: l[k].count}
		for d, w := range l[k].weights {
			if w > 0 {
				m.Devices, m.Split = append(m.Devices, p.devices[d]), append(m.Split, w)
			}
			if layers[k][d] > 0 {
				m.On = append(m.On, Share{Device: p.devices[d].Name, Layers: layers[k][d], Bytes: bytes[k][d]})
			}
		}
		plan.Models = append(plan.Models, m)
	}
	return plan
}

// cpu puts everything on the CPU.
func (p planner) cpu(why string) (plan Plan) {
	for _, need := range p.needs {
		plan.Models = append(plan.Models, Model{Placement: Placement{Model: need.Model, Layers: need.total(), Note: why}})
	}
	return plan
}
