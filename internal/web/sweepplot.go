package web

import (
	"fmt"
	"strings"

	"realign/internal/stat"
	"realign/internal/sweep"
	"realign/web/templates"
)

// axis names a reward with its unit.
func axis(j sweep.RewardInfo) string {
	name := judgeTitle(j)
	if j.Name != "" && j.Name != j.Title {
		name = j.Name
	}
	if j.Unit != "" {
		name += ", " + j.Unit
	}
	return fmt.Sprintf("%s (%s is better)", name, j.Direction)
}

// drawn is an interval as a plot has it: without width where it is not known.
func drawn(i stat.Interval) stat.Interval {
	if !i.Known() {
		return stat.Interval{Estimate: i.Estimate, Low: i.Estimate, High: i.Estimate}
	}
	return i
}

// wholeLines draws what whole replies would say, dashed, with gaps where too few replies carry the weight.
func wholeLines(w *sweep.Whole) (lines []templates.PlotLine) {
	line := templates.PlotLine{Kind: "second"}
	end := func() {
		if len(line.X) > 1 {
			lines = append(lines, line)
		}
		line = templates.PlotLine{Kind: "second"}
	}
	for _, p := range w.Points {
		if p.Value == nil {
			end()
			continue
		}
		line.X, line.Y = append(line.X, p.Lambda), append(line.Y, p.Value.Estimate)
	}
	end()
	return lines
}

// withWhole adds to the plot of a reward over λ what whole replies would say. beta is β₀, 0 where nobody knows it.
func withWhole(p templates.Plot, w *sweep.RewardReport, beta float64) templates.Plot {
	if w.Whole != nil {
		if lines := wholeLines(w.Whole); len(lines) > 0 {
			p.Lines = append(p.Lines, lines...)
			key := "Dashed: what whole replies would say"
			if beta > 0 {
				key += ", which is what β₀/λ is about"
			}
			p.Key = strings.TrimSpace(key + ". " + p.Key)
		}
	}
	return p
}

// curvePlot draws a reward over λ: the curve where it is known, with gaps where it is not, and what was measured.
func curvePlot(r *sweep.Report, w *sweep.RewardReport) templates.Plot {
	p := templates.Plot{Title: templates.Capital(w.Name) + " over λ", X: "λ", Y: axis(w.RewardInfo)}
	var band templates.PlotBand
	var line templates.PlotLine
	end := func() {
		if len(line.X) > 1 {
			p.Bands, p.Lines = append(p.Bands, band), append(p.Lines, line)
		}
		band, line = templates.PlotBand{}, templates.PlotLine{}
	}
	for _, point := range w.Curve {
		if point.Value == nil {
			end()
			continue
		}
		v := drawn(*point.Value)
		band.X, band.Low, band.High = append(band.X, point.Lambda), append(band.Low, v.Low), append(band.High, v.High)
		line.X, line.Y = append(line.X, point.Lambda), append(line.Y, point.Value.Estimate)
	}
	end()
	for _, point := range w.Points {
		if m := point.Mean; m != nil {
			p.Points = append(p.Points, templates.PlotPoint{
				X: point.Lambda, LowX: point.Lambda, HighX: point.Lambda, Y: m.Estimate, LowY: drawn(*m).Low, HighY: drawn(*m).High, Lambda: point.Lambda,
				Tip: fmt.Sprintf("λ = %s: %s from %d samples", significant(point.Lambda), interval(m), point.Values),
			})
		}
	}
	if w.Best != nil {
		p.Marks = append(p.Marks, templates.PlotMark{From: w.Best.Lambda.Low, To: w.Best.Lambda.High, Kind: "best", Label: "best λ " + interval(&w.Best.Lambda)})
	}
	if n := len(r.Lambdas); n > 0 && r.Lambdas[0].Lambda <= 1 && r.Lambdas[n-1].Lambda >= 1 {
		p.Marks = append(p.Marks, templates.PlotMark{From: 1, To: 1, Kind: "here", Label: "λ = 1: the aligned model"})
	}
	p.Levels = trustLevels(r.Lambdas)
	if len(p.Levels) > 0 {
		p.Key = "Band along λ: how far token-wise decoding is from whole replies; green close, orange off, red far off."
		if p.Levels[0].Level == "corrected" {
			p.Key = "Band along λ: what exact λ corrected."
		}
	}
	return p
}

// trustLevels are the parts of the axis around decoded λ, up to half-way to the next.
func trustLevels(lambdas []sweep.LambdaStats) (levels []templates.PlotLevel) {
	for i, l := range lambdas {
		if l.Trust == nil {
			continue
		}
		level := templates.PlotLevel{From: l.Lambda, To: l.Lambda, Level: string(l.Trust.Level), Tip: "λ = " + significant(l.Lambda) + ": " + l.Trust.Words()}
		if l.Trust.Corrected {
			level.Level = "corrected"
		}
		if i > 0 {
			level.From = (lambdas[i-1].Lambda + l.Lambda) / 2
		}
		if i < len(lambdas)-1 {
			level.To = (l.Lambda + lambdas[i+1].Lambda) / 2
		}
		levels = append(levels, level)
	}
	return levels
}

// paretoPlot draws a reward over KL to the reference, a point for each λ. The first λ, the last, λ = 1 and those on the
// front are labelled; where the curve surely turns is marked.
func paretoPlot(r *sweep.Report, w *sweep.RewardReport) templates.Plot {
	p := templates.Plot{Title: templates.Capital(w.Name) + " against KL", X: "KL to the reference, nats per reply", Y: axis(w.RewardInfo)}
	zero := 0.0
	p.FromX = &zero
	var line templates.PlotLine
	line.Kind = "faint"
	best := nearestPoint(w)
	for i, point := range w.Points {
		m, kl := point.Mean, r.Lambdas[i].KL
		if m == nil || kl == nil {
			continue
		}
		d := templates.PlotPoint{
			X: kl.Estimate, LowX: drawn(*kl).Low, HighX: drawn(*kl).High, Y: m.Estimate, LowY: drawn(*m).Low, HighY: drawn(*m).High, Lambda: point.Lambda,
			Tip: fmt.Sprintf("λ = %s: %s at KL %s", significant(point.Lambda), interval(m), interval(kl)),
		}
		if i == 0 || i == len(w.Points)-1 || point.Lambda == 1 || i == best {
			d.Label = "λ " + significant(point.Lambda)
		}
		if i == best {
			d.Kind = "best"
		} else if !point.Efficient {
			d.Kind = "second"
		}
		line.X, line.Y = append(line.X, d.X), append(line.Y, d.Y)
		p.Points = append(p.Points, d)
	}
	if len(line.X) > 1 {
		p.Lines = append(p.Lines, line)
	}
	if w.Peak != nil && w.Peak.Sure {
		p.Marks = append(p.Marks, templates.PlotMark{From: w.Peak.KL, To: w.Peak.KL, Kind: "here", Label: "the curve turns here: more KL makes it worse"})
	}
	return p
}

// bothPlot draws a reward of two sweeps over λ, the second one dashed.
func bothPlot(reports []*sweep.Report, name string) templates.Plot {
	p := curvePlot(reports[0], reports[0].Reward(name))
	second := curvePlot(reports[1], reports[1].Reward(name))
	p.Marks = p.Marks[:0]
	for _, l := range second.Lines {
		l.Kind = "second"
		p.Lines = append(p.Lines, l)
	}
	p.Bands = append(p.Bands, second.Bands...)
	for _, d := range second.Points {
		d.Kind = "second"
		p.Points = append(p.Points, d)
	}
	return p
}
