package stat

import (
	"slices"

	gonumstat "gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// StudentQuantile is the 97.5% quantile of Student's t with some degrees of freedom, 1 or more.
func StudentQuantile(freedom int) float64 {
	return distuv.StudentsT{Sigma: 1, Nu: float64(freedom)}.Quantile(0.975)
}

// Central is the 2.5% and 97.5% quantiles. It sorts values.
func Central(values []float64) (low, high float64) {
	slices.Sort(values)
	return gonumstat.Quantile(0.025, gonumstat.Empirical, values, nil), gonumstat.Quantile(0.975, gonumstat.Empirical, values, nil)
}
