package templates

// FormError is what is wrong with a field of a form, or with the form where Field is "".
type FormError struct {
	Field, Message string
}

// wrongWith is what is wrong with a field; "" for nothing.
func wrongWith(errors []FormError, field string) string {
	for _, e := range errors {
		if e.Field == field {
			return e.Message
		}
	}
	return ""
}

// describedBy are the ids of a field's help and of what is wrong with it; "" is none.
func describedBy(name, help, wrong string) string {
	switch {
	case help != "" && wrong != "":
		return "error-" + name + " help-" + name
	case wrong != "":
		return "error-" + name
	case help != "":
		return "help-" + name
	}
	return ""
}
