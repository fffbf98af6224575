package store

import "encoding/json"

// objects cuts a JSON list of objects into its members. It is for lists that were encoded here: they are not checked again, which
// would cost more than all else when a long run is opened. What is no such list has other members than it should.
func objects(list []byte) (members []json.RawMessage) {
	depth, start := 0, 0
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '"':
			for i++; i < len(list) && list[i] != '"'; i++ {
				if list[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			if depth++; depth == 2 {
				start = i
			}
		case ']', '}':
			if depth--; depth == 1 {
				members = append(members, list[start:i+1:i+1])
			}
		}
	}
	return members
}
