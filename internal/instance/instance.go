// Package instance says which of the servers that share a store this one is, and makes what the store has of all of them this
// one's. It knows neither the store nor the network.
package instance

// Server is this server among those that share the store. Its name changes when others took it for dead.
type Server interface{ Name() string }

// Fixed is the name of a server that keeps it.
type Fixed string

// Name implements Server.
func (f Fixed) Name() string { return string(f) }

// Or is the server, or, without any, one that has no name: no other shares its store.
func Or(s Server) Server {
	if s == nil {
		return Fixed("")
	}
	return s
}

// Claim makes something this server's. Of is the name of the server that has it; take tells the store, and where it fails,
// its error is returned and nothing changes. What is this server's already is not told.
func Claim(s Server, of *string, take func(from, to string) error) error {
	me := s.Name()
	if *of == me {
		return nil
	}
	if err := take(*of, me); err != nil {
		return err
	}
	*of = me
	return nil
}
