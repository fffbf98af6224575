package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"realign/internal/decode"
	"realign/internal/pair"
	"realign/internal/worker"
)

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
		URL: c.NATS, Token: token, ID: c.ID, Pair: p.Name, Build: build(), Files: models.FileSums, Wait: c.Wait, Log: log, Engine: decode.Config{Queue: c.Queue, Log: log, Kernel: h.kernel},
		Open: func(ctx context.Context, progress func(float64)) (decode.Pair, error) {
			return h.open(ctx, p, c.modelFlags, progress)
		},
	}
	if c.Child {
		config.Parent = exitLate{h.stdin}
	}
	return asFlagError(worker.Serve(ctx, config))
}

// exitLate reads the pipe from a parent. A child whose parent is gone ends even if its engine hangs.
type exitLate struct {
	io.Reader
}

func (r exitLate) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil {
		time.AfterFunc(10*time.Second, func() { os.Exit(exitCodes["unavailable"]) })
	}
	return n, err
}
