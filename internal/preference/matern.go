package preference

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// matern is the Matérn covariance of smoothness 5/2 and variance 1 (Rasmussen & Williams 2006, eq. 4.17). Its
// functions have two derivatives, enough for a peak to have a place and a curvature; the squared exponential's
// endless smoothness gives bands that are too narrow between rated λ. distance and length are in λ.
func matern(distance, length float64) float64 {
	r := math.Sqrt(5) * math.Abs(distance) / length
	return (1 + r + r*r/3) * math.Exp(-r)
}

// matern3 is the Matérn covariance of smoothness 3/2: its functions have one derivative.
func matern3(distance, length float64) float64 {
	r := math.Sqrt(3) * math.Abs(distance) / length
	return (1 + r) * math.Exp(-r)
}

// factor draws a Gaussian process: with independent standard normal z and e, L·z is the process at the K rated λ and
// A·z + B·e at the M points of the curve, jointly.
// It does not change once it is made.
type factor struct {
	of      covariance // the process
	k, m, r int        // rated λ, points of the curve, and columns of b
	l, a, b []float64  // k×k (lower), m×k, m×r, row by row
}

// newFactor factors a process at the rated λ and at the points of the curve. lower is the Cholesky factor of its
// covariance at the rated λ.
func newFactor(rated, points []float64, of covariance, lower *mat.TriDense) *factor {
	k, m := len(rated), len(points)
	f := &factor{of: of, k: k, m: m, l: make([]float64, k*k), a: make([]float64, m*k)}
	for i := range k {
		for j := range i + 1 {
			f.l[i*k+j] = lower.At(i, j)
		}
	}
	for p, x := range points {
		row := f.a[p*k : (p+1)*k]
		for i := range k { // L·row = the covariance with the rated λ
			sum := of(x, rated[i])
			for j := range i {
				sum -= f.l[i*k+j] * row[j]
			}
			row[i] = sum / f.l[i*k+i]
		}
	}
	f.residual(points)
	return f
}

// residual factors what the rated λ leave open, by Cholesky with pivoting until no point's variance left
// is above a hundred-thousandth of the prior's (Harbrecht, Peters & Schneider 2012).
func (f *factor) residual(points []float64) {
	const tolerance = 1e-5
	rest := make([]float64, f.m)
	least := 0.0
	for p := range rest {
		rest[p] = f.of(points[p], points[p])
		least = max(least, tolerance*rest[p])
		for j := range f.k {
			rest[p] -= f.a[p*f.k+j] * f.a[p*f.k+j]
		}
	}
	var columns [][]float64
	// The point that is least known is the next pivot.
	for len(columns) < f.m {
		top := 0
		for p := range rest {
			if rest[p] > rest[top] {
				top = p
			}
		}
		if rest[top] < least {
			break
		}
		column, root := make([]float64, f.m), math.Sqrt(rest[top])
		for p := range column {
			sum := f.of(points[p], points[top])
			for j := range f.k {
				sum -= f.a[p*f.k+j] * f.a[top*f.k+j]
			}
			for _, c := range columns {
				sum -= c[p] * c[top]
			}
			column[p] = sum / root
			rest[p] -= column[p] * column[p]
		}
		rest[top] = 0
		columns = append(columns, column)
	}
	f.r = len(columns)
	f.b = make([]float64, f.m*f.r)
	for c, column := range columns {
		for p, x := range column {
			f.b[p*f.r+c] = x
		}
	}
}

// curve is A·z + B·e into u; nil e leaves the mean given z.
func (f *factor) curve(u, z, e []float64) {
	for p := range u {
		sum := 0.0
		for j, x := range f.a[p*f.k : (p+1)*f.k] {
			sum += x * z[j]
		}
		if e != nil {
			for j, x := range f.b[p*f.r : (p+1)*f.r] {
				sum += x * e[j]
			}
		}
		u[p] = sum
	}
}

// top is where a curve on evenly spaced points is highest, to a fraction of a step: the vertex of the
// parabola through the highest point and its neighbours, or the end when that is highest.
func top(points, u []float64) float64 {
	best := 0
	for p := range u {
		if u[p] > u[best] {
			best = p
		}
	}
	if best == 0 || best == len(u)-1 {
		return points[best]
	}
	left, mid, right := u[best-1], u[best], u[best+1]
	bend := left - 2*mid + right
	if !(bend < 0) {
		return points[best]
	}
	return points[best] + (points[1]-points[0])*(left-right)/(2*bend)
}
