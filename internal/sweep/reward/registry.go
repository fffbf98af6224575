package reward

// registry is every reward, by name. A new one is a maker here and nothing elsewhere.
func registry() []maker {
	return []maker{
		chrf(), command(), distinct(), grounding(), httpReward(), implicit(), confine(schema()), llmJudge(), length(), confine(pattern()),
		readability(), rouge(), sentiment(), sentimentCheck(),
	}
}
