package fault

// Every is all errors that people outside may read of what errors.Join has joined, in its order; of anything else the one
// that Of finds. Of several about one field the first stays: it is what the others come from.
func Every(err error) []*Error {
	var all []*Error
	said := map[string]bool{}
	var walk func(error)
	walk = func(err error) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range joined.Unwrap() {
				walk(one)
			}
			return
		}
		if f := Of(err); f != nil && (f.Field == "" || !said[f.Field]) {
			said[f.Field] = true
			all = append(all, f)
		}
	}
	walk(err)
	return all
}
