package reward

// registry is every reward, by name. A new one is a maker here and nothing elsewhere.
func registry() []maker {
	return []maker{
		chrf(), command(), distinct(), entails(), grounding(), httpReward(), implicit(), confine(schema()), llmJudge(), length(), confine(pattern()),
		readability(), rouge(), sentiment(), sentimentCheck(),
	}
}

// MayFail reports whether the reward of a name asks something outside, an endpoint or a program, that may answer another
// time.
func MayFail(name string) bool {
	for _, m := range registry() {
		if m.info.Name == name {
			return m.info.Remote || m.info.Headless
		}
	}
	return false
}
