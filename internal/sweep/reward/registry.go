package reward

// registry is every reward, by name.
func registry() []maker {
	return []maker{}
}
