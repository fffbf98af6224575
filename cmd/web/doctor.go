package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/store"
	"realign/internal/worker"
)

// doctorCommand is `realign doctor`.
type doctorCommand struct {
	pairFlags
	NATS string `name:"nats" placeholder:"URL" help:"NATS cluster of the server; default: the one inside it."`
	tokenFlags

	DB string `name:"db" placeholder:"DSN" help:"Database: postgres://… or sqlite:PATH. Default: realign.db in the data folder."`
}

// Limits of the doctor.
const (
	doctorTime = 5 * time.Minute // for reading all of a database
	leastFree  = 1 << 30         // bytes of the data folder's disk, below which a server is about to fail
)

// finding is one line of the doctor's: what was looked at, and what was found.
type finding struct {
	what, found string // what was looked at
	err         error  // what is wrong with it; nil where it is as it should be
}

// Run looks at what a server needs, changes nothing, and fails as the first thing that is wrong does.
func (c *doctorCommand) Run(ctx context.Context, h env, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	var first error
	say := func(all ...finding) {
		for _, f := range all {
			verdict := "ok"
			if f.err != nil {
				verdict, f.found = "WRONG", strings.Join(strings.Fields(f.err.Error()), " ")
				if first == nil {
					first = f.err
				}
			}
			fmt.Fprintf(h.stdout, "%-6s %s: %s\n", verdict, f.what, f.found)
		}
	}
	database, served := c.database(ctx)
	say(database, c.folder(), c.disk())
	say(c.models(ctx)...)
	say(c.nats(ctx, h, log, served))
	if first != nil {
		return fault.New(fault.KindOf(first), "something is wrong: see above")
	}
	return nil
}

// database reads the whole database, and says whether a server is running on it.
func (c *doctorCommand) database(ctx context.Context) (f finding, served bool) {
	f.what = "database"
	x, err := store.Examine(ctx, store.Config{Data: c.Data, DSN: c.DB})
	switch {
	case fault.KindOf(err) == fault.NotFound:
		f.found = "none yet: the first start makes it"
	case err != nil:
		f.err = err
	default:
		f.found = fmt.Sprintf("version %d of %d, nothing damaged", x.Version, x.Known)
		if x.Served {
			f.found += "; a server is running on it"
		}
	}
	return f, x.Served
}

// folder looks whether other users of the machine can read the data folder.
func (c *doctorCommand) folder() finding {
	f := finding{what: "data folder", found: c.Data + " is for its owner alone"}
	loose, err := store.Loose(c.Data)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		f.found = c.Data + " is not there yet: the first start makes it"
	case err != nil:
		f.err = err
	case len(loose) > 0:
		f.err = fault.New(fault.Forbidden, "other users can reach %s and %d more: realign serve closes them at its next start", loose[0], len(loose)-1)
	}
	return f
}

// disk looks how much room the data folder's disk has.
func (c *doctorCommand) disk() finding {
	f := finding{what: "free disk"}
	at := c.Data
	for { // the folder may have to be made
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	free, err := freeBytes(at)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		f.found = "not known on this system"
	case err != nil:
		f.err = fault.New(fault.Unavailable, "it cannot be asked: %v", err)
	case free < leastFree:
		f.err = fault.New(fault.Unavailable, "%.2f GB: make room, at least %d GB", float64(free)/1e9, leastFree>>30)
	default:
		f.found = fmt.Sprintf("%.1f GB", float64(free)/1e9)
	}
	return f
}

// models looks at the files of each pair. One that is not installed is no fault.
func (c *doctorCommand) models(ctx context.Context) []finding {
	library, sums := c.library(), c.sums()
	pairs, err := library.List()
	var all []finding
	if err != nil {
		all = append(all, finding{what: "pairs", err: err})
	}
	if len(pairs) == 0 && err == nil {
		all = append(all, finding{what: "pairs", err: fault.New(fault.NotFound, "there are none: is --models right?")})
	}
	for _, p := range pairs {
		f := finding{what: "pair " + p.Name, found: fmt.Sprintf("%d files are whole", len(p.Files()))}
		if err := p.Installed(); err != nil {
			f.found = fault.Of(err).Message
		} else {
			f.err = checkFiles(ctx, p, sums)
		}
		all = append(all, f)
	}
	return all
}

// checkFiles checks the files of a pair, with their sums.
func checkFiles(ctx context.Context, p *pair.Pair, sums *pair.Sums) error {
	for _, file := range p.Files() {
		if err := p.CheckFile(ctx, file, sums); err != nil {
			return err
		}
	}
	return nil
}

// nats connects to a cluster, or starts the server's own NATS on its files, and opens the work queues.
func (c *doctorCommand) nats(ctx context.Context, h env, log *slog.Logger, served bool) finding {
	f := finding{what: "NATS", found: "answers, with JetStream"}
	if c.NATS == "" && served {
		f.found = "is inside the server that is running"
		return f
	}
	token, err := c.token()
	if err != nil {
		f.err = err
		return f
	}
	config := worker.Config{Pairs: c.library(), URL: c.NATS, Token: token, Stderr: h.stderr, Log: log, Data: c.Data}
	if c.NATS == "" {
		config.Token = ""
		if _, err := os.Stat(filepath.Join(c.Data, "nats")); err != nil { // nothing is made for a look
			f.found, config.Data = "can be started", ""
		}
	}
	pool, err := worker.NewPool(config)
	if err != nil {
		f.err = err
		return f
	}
	defer func() { f.err = errors.Join(f.err, pool.Close()) }()
	if config.Data != "" {
		_, f.err = pool.Queue(ctx)
	}
	return f
}
