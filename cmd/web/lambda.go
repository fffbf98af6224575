package main

import (
	"strconv"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
)

// parseLambdas reads "0,0.5,1" (one λ per lane), or "0.5:0.2,1:0" for two aligned models. A λ may be a
// fraction, as in "1/6".
func parseLambdas(text string, models int) ([]decode.Vector, error) {
	const flag = "--lambda"
	var all []decode.Vector
	for part := range strings.SplitSeq(text, ",") {
		numbers := strings.Split(part, ":")
		if len(numbers) != models {
			return nil, fault.Field(flag, "%.40q has %d values, and there are %d aligned models", part, len(numbers), models)
		}
		v := make(decode.Vector, models)
		for i, number := range numbers {
			x, err := parseNumber(strings.TrimSpace(number))
			if err != nil {
				return nil, fault.Field(flag, "%.40q is not a number", number)
			}
			v[i] = x
		}
		if err := decode.CheckLambda(flag, v, models); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func parseNumber(text string) (float64, error) {
	above, below, fraction := strings.Cut(text, "/")
	x, err := strconv.ParseFloat(above, 64)
	if err != nil || !fraction {
		return x, err
	}
	y, err := strconv.ParseFloat(below, 64)
	return x / y, err
}

// formatLambda is the shortest text that reads back as v.
func formatLambda(v decode.Vector) string {
	parts := make([]string, len(v))
	for i, x := range v {
		parts[i] = strconv.FormatFloat(x, 'g', -1, 64)
	}
	return strings.Join(parts, ":")
}
