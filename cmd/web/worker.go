package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/worker"
)

// workerCommand decodes on one pair for servers elsewhere, or, as a child, for the one that has started it.
type workerCommand struct {
	pairFlags
	modelFlags
	tokenFlags

	Pair string `required:"" placeholder:"NAME" help:"Pair to decode on."`
	NATS string `name:"nats" required:"" placeholder:"URL" help:"NATS server or cluster where the servers are: a server's --nats-listen, or what its --nats names."`

	Wait  time.Duration `default:"30s" placeholder:"TIME" help:"How long to wait at first for a NATS server that does not answer."`
	Queue int           `default:"64" help:"Requests that may wait for room."`
	ID    string        `name:"worker-id" placeholder:"NAME" help:"Name of this worker, unlike all others'. Default: one is made up."`
	Child bool          `hidden:"" help:"End when the standard input does."`
}

// Run decodes until ctx is done or, for a child, until its parent is gone.
func (c *workerCommand) Run(ctx context.Context, h env, log *slog.Logger) error {
	p, err := installedPair(c.library(), c.Pair)
	if err != nil {
		return asFlagError(err)
	}
	token, err := c.token()
	if err != nil {
		return err
	}
	models := pair.Resolver{Library: c.library(), Sums: c.sums()}
	config := worker.ServeConfig{
		URL: c.NATS, Token: token, ID: c.ID, Pair: p.Name, Build: build(), Files: models.FileSums, Wait: c.Wait, Log: log, Engine: decode.Config{Queue: c.Queue, Log: log, Kernel: h.kernel, Speculation: c.speculation()},
		Open: func(ctx context.Context, progress func(float64)) (decode.Pair, error) {
			return h.open(ctx, p, c.modelFlags, progress)
		},
	}
	if c.Child {
		config.Parent = parentPipe{h.stdin}
	}
	return asFlagError(worker.Serve(ctx, config))
}

// parentPipe is the pipe from a parent. Its end says that the parent is gone: the child then ends within ten seconds even if its
// engine hangs.
type parentPipe struct {
	io.Reader
}

// Read reads from the parent; at the end it sees to it that the process ends, too.
func (r parentPipe) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil {
		time.AfterFunc(10*time.Second, func() { os.Exit(exitCodes[fault.Unavailable]) })
	}
	return n, err
}
