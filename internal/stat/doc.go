// Package stat holds the statistics that studies, sweeps and their comparison share: the Interval that every estimate is
// shown with, and how its ends are found from resamples (Percentile, Central), from counts (Wilson), and for few
// independent things (StudentQuantile).
package stat
