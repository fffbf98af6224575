package sweep

// Setup is a sweep as it was started: the configuration with what had to be looked up for it. Plan and report
// are functions of it and of the outputs, so it is kept with the sweep and never changes.
type Setup struct {
	Config  Config  `json:"config"`
	Aligned string  `json:"aligned"` // name of the aligned model, the pair's default resolved
	Beta    float64 `json:"beta"`    // β₀ that it was trained with; 0 when nobody says
	Judges  []Judge `json:"judges"`  // one per reward of the configuration, in its order
}

// Judge is what estimates need to know of a reward.
type Judge struct {
	Name      string    `json:"name"` // as the configuration calls it
	Title     string    `json:"title"`
	Unit      string    `json:"unit,omitempty"`
	Direction Direction `json:"direction"`
}

// Judge is the judge of a name; the zero Judge for none.
func (s *Setup) Judge(name string) Judge {
	for _, j := range s.Judges {
		if j.Name == name {
			return j
		}
	}
	return Judge{}
}

// sign is 1 where more is better and −1 where less is.
func (j Judge) sign() float64 {
	if j.Direction == Lower {
		return -1
	}
	return 1
}
