package gpu

import (
	"strconv"
	"strings"

	"realign/internal/fault"
)

// Values of Choice.Layers that are no numbers of layers.
const (
	Auto = -2 // as many as fit
	All  = -1
)

// Choice is what a person wants on GPUs.
type Choice struct {
	Layers  int      // of each model, counted from its end, the output layer included; or Auto or All
	Devices []Wanted // in this order; empty: all that there are, unless None
	None    bool     // everything on the CPU
}

// Wanted is a device that was asked for. If it has a share, all wanted devices have one, and every model is split over
// them in these proportions.
type Wanted struct {
	Name  string  // of a Device, in capitals or not
	Share float64 // above 0; 0 if none was given
}

// ParseChoice reads the two flags. layers is auto, all, -1 (which is all) or a number; devices is auto, none, or names
// separated by commas, each perhaps with a share: CUDA0=3,CUDA1=1. Errors name the flag.
func ParseChoice(layers, devices string) (Choice, error) {
	c := Choice{Layers: Auto}
	switch layers {
	case "auto", "":
	case "all", "-1":
		c.Layers = All
	default:
		n, err := strconv.Atoi(layers)
		if err != nil || n < 0 {
			return c, fault.Field("gpu_layers", "%.40q is not auto, all or a number of layers from 0", layers)
		}
		c.Layers = n
	}
	switch devices {
	case "auto", "":
		return c, nil
	case "none":
		if c.Layers != Auto && c.Layers != 0 {
			return c, fault.Field("devices", "none is asked for, but --gpu-layers=%s wants layers on one", layers)
		}
		c.None = true
		return c, nil
	}
	shares := 0
	for _, text := range strings.Split(devices, ",") {
		name, share, shared := strings.Cut(strings.TrimSpace(text), "=")
		w := Wanted{Name: name}
		if name == "" {
			return c, fault.Field("devices", "%.80q names no device: auto, none, or names separated by commas", devices)
		}
		if shared {
			x, err := strconv.ParseFloat(share, 64)
			if err != nil || !(x > 0 && x <= 1e6) {
				return c, fault.Field("devices", "the share %.40q of %.40s is not a positive number", share, name)
			}
			w.Share = x
			shares++
		}
		for _, other := range c.Devices {
			if strings.EqualFold(other.Name, name) {
				return c, fault.Field("devices", "%.40s is there twice", name)
			}
		}
		c.Devices = append(c.Devices, w)
	}
	if shares != 0 && shares != len(c.Devices) {
		return c, fault.Field("devices", "all devices have a share, as in CUDA0=3,CUDA1=1, or none has")
	}
	return c, nil
}

// pick is the devices that a choice means, of those that there are, and the shares if it gives any. A device that is not
// there is Invalid.
func (c Choice) pick(there []Device) (picked []Device, shares []float64, err error) {
	if c.None {
		return nil, nil, nil
	}
	for _, w := range c.Devices {
		found := false
		for _, d := range there {
			if strings.EqualFold(d.Name, w.Name) {
				picked, found = append(picked, d), true
				if w.Share > 0 {
					shares = append(shares, w.Share)
				}
				break
			}
		}
		switch {
		case !found && len(there) == 0:
			return nil, nil, fault.Field("devices", "there is no device %.40q: no GPU was found", w.Name)
		case !found:
			return nil, nil, fault.Field("devices", "there is no device %.40q, but %s", w.Name, names(there))
		}
	}
	if len(c.Devices) == 0 {
		picked = usual(there)
	}
	if len(picked) == 0 && (c.Layers == All || c.Layers > 0) {
		return nil, nil, fault.Field("gpu_layers", "no GPU was found that could hold layers: auto or 0 is possible")
	}
	return picked, shares, nil
}

// usual leaves out the second sight of a card that two backends see, and integrated GPUs where there are others.
func usual(there []Device) (list []Device) {
	for _, integrated := range []bool{false, true} {
		seen := map[string]bool{}
		for _, d := range there {
			if d.Integrated == integrated && (d.ID == "" || !seen[d.ID]) {
				list = append(list, d)
				seen[d.ID] = true
			}
		}
		if len(list) > 0 {
			break
		}
	}
	return list
}
