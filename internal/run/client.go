package run

import (
	"context"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Client is who a request comes from, for serving clients in turn. An owner is an identity that anybody can make; a client is a
// place that requests come from, of which one has fewer.
type Client struct {
	Key   string // such as a network address; "" is nobody in particular
	Guest bool   // it comes without an owner that outlives its connection
}

// clientKey is under which a context has its Client.
type clientKey struct{}

// WithClient says who starts what is started under the context.
func WithClient(ctx context.Context, c Client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

// clientOf is who starts what is started under the context; nobody in particular where it does not say.
func clientOf(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	return c
}

// name is the client as decoders know it. Guests of a place are a client of their own, beside those of the place who have an owner.
func (c Client) name() string {
	if c.Guest {
		return "guest " + c.Key
	}
	return c.Key
}

// sign tells a decoder whose request it is.
func (c Client) sign(r *decode.Request, owner string) {
	r.Owner, r.Client, r.Guest = owner, c.name(), c.Guest
}

// most is how many runs at once a client may have; without a key there is no bound.
func (c *Config) most(client Client) int {
	switch {
	case client.Key == "":
		return c.MaxRuns
	case client.Guest:
		return c.MaxGuestRuns
	}
	return c.MaxClientRuns
}

// StopOwner ends all lanes of all runs of an owner that nobody can see or steer any more, and waits for none.
func (h *Hub) StopOwner(owner string) { h.stopEverywhere(owner, "") }

// errLate is a start that no worker has answered in time.
var errLate = fault.New(fault.Unavailable, "no worker has taken the run in time: the pair is still loading, or it hangs; try again")
