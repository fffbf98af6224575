package worker

import (
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// What a connection to the embedded server may do. The name of a worker's client holds which pair it serves and what its ID
// is; its permissions are for these subjects only:
//
//   - it takes orders of its pair as one of the queue group, so that it gets those that are given to it and not all;
//   - it tells of itself under its own ID, and sends the events of runs under it, too, so that a pool can compare it with
//     the worker that took the order;
//   - it asks a pool for work of its pair, and JetStream for nothing;
//   - it answers what was sent to it, and nothing else: inboxes are per connection.
//
// On a NATS cluster of the operator's own the permissions are the operator's: see docs/guide.md.

const (
	serverUser  = "realign-server"
	clientName  = "realign worker" // before the pair and the ID
	repliesLive = 24 * time.Hour   // a message may be answered for so long; a run, or a piece of work, takes less
)

// inbox begins the subjects of the answers that a connection waits for. Pools' begin otherwise than workers'.
func inbox(kind, id string) string { return "_INBOX_" + kind + "." + id }

// Kinds of inboxes.
const (
	poolInbox   = "POOL"
	workerInbox = "WORKER"
)

// nameOf is the client name of a worker, and claim reads one.
func nameOf(pair, id string) string { return clientName + " " + escape(pair) + " " + id }

// claim reads a name that nameOf made: the pair (escaped) and the ID. It is false for another.
func claim(name string) (pair, id string, ok bool) {
	words := strings.Split(strings.TrimPrefix(name, clientName+" "), " ")
	if !strings.HasPrefix(name, clientName+" ") || len(words) != 2 || !token(words[0]) || !token(words[1]) {
		return "", "", false
	}
	return words[0], words[1], true
}

// workerPermissions are those of the worker of a pair (escaped) with an ID.
func workerPermissions(pair, id string) *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			greetings, beatOf(pair, id), prefix + "events.*." + id + ".*", nextPrefix + pair + "." + id,
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{
			inbox(workerInbox, id) + ".>", controls(id), poolBeats, orderPrefix + pair + " " + queueGroup,
		}},
		Response: &server.ResponsePermission{MaxMsgs: -1, Expires: repliesLive},
	}
}

// greeterPermissions let a program of another version ask to join, and get the answer that it does not fit: see joinRequest.
func greeterPermissions() *server.Permissions {
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{greetings}},
		Subscribe: &server.SubjectPermission{Allow: []string{oldInbox + ">"}},
	}
}

// oldInbox begins the inboxes of protocol 1; nothing of ours is sent there but the answer to a joinRequest.
const oldInbox = "_INBOX." // of protocol 1; nothing of ours is sent there but the answer to a joinRequest

// authenticator lets in our own pool, our children and, with a token, others' workers. Without a token there are no others.
type authenticator struct {
	server, child string // passwords of our pool and of our children, made up at each start
	token         string // that others show; "" lets in no others
	log           *slog.Logger
}

// Check implements server.Authentication.
func (d authenticator) Check(c server.ClientAuthentication) bool {
	shown := c.GetOpts()
	if shown.Username == serverUser && same(shown.Password, d.server) {
		c.RegisterUser(&server.User{Username: serverUser})
		return true
	}
	pair, id, named := claim(shown.Name)
	known := shown.Username == ownUser && same(shown.Password, d.child)
	if d.token != "" && !known {
		known = same(shown.Token, d.token) || named && same(shown.Token, pairToken(d.token, pair))
	}
	switch {
	case !known:
		d.log.Warn("a worker was turned away: its token is another", "from", c.RemoteAddress())
		return false
	case named:
		c.RegisterUser(&server.User{Username: id, Permissions: workerPermissions(pair, id)})
	default:
		c.RegisterUser(&server.User{Username: "greeter", Permissions: greeterPermissions()})
	}
	return true
}
