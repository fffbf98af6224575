package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"realign/internal/cluster"
	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/gpu"
	"realign/internal/pair"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/share"
	"realign/internal/store"
	"realign/internal/study"
	"realign/internal/sweep/reward"
	"realign/internal/sweep/runner"
	"realign/internal/web"
	"realign/internal/worker"
)

// serveCommand is `realign serve`: it wires up the server and everything that it runs on.
type serveCommand struct {
	pairFlags
	modelFlags
	natsFlags

	Addr string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to listen at. One that others can reach needs --auth."`
	DB   string `name:"db" placeholder:"DSN" help:"Database: postgres://… or sqlite:PATH. Default: realign.db in the data folder."`
	Pair string `default:"demo" placeholder:"NAME" help:"Pair to load at once."`

	Auth      string   `enum:"none,password" default:"none" help:"Who may use the server: whoever reaches it (none), or who knows the password."`
	Password  string   `placeholder:"TEXT" help:"The password; better given as REALIGN_PASSWORD."`
	PublicURL *url.URL `name:"public-url" placeholder:"URL" help:"Address that people use, when a proxy stands before the server."`
	BasePath  string   `name:"base-path" placeholder:"/PATH" help:"Path of the host that people find the server below, when a proxy gives it one; the proxy passes addresses on as they are."`
	TLSCert   string   `name:"tls-cert" placeholder:"FILE" help:"Serve over TLS with this certificate (PEM, with its chain)."`
	TLSKey    string   `name:"tls-key" placeholder:"FILE" help:"The certificate's private key (PEM)."`

	TrustedProxy []string `name:"trusted-proxy" sep:"," placeholder:"CIDR,…" help:"Addresses or networks of the reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed. Default: none."`
	APIOrigin    []string `name:"api-origin" sep:"," placeholder:"ORIGIN,…" help:"Origins, such as https://tools.example, of pages whose scripts may use the API of this server. Default: none."`
	TrustProxy   bool     `name:"trust-proxy" hidden:"" help:"Was replaced by --trusted-proxy."`

	ManagePairs string `name:"manage-pairs" enum:"auto,yes,no" default:"auto" help:"Whether the page of pairs may add, check, remove and fetch pairs (${enum}): auto is yes without --auth, where only people of this machine reach the server, and no with a password, which whoever uses the server knows."`

	Endpoints []string `sep:"," placeholder:"URL,…" help:"Addresses that rewards of sweeps may ask, each with all below it. Default: none. Keys that they send are environment variables named REALIGN_KEY_…."`

	Workers  bool   `default:"true" negatable:"" help:"Start workers here; without, only those that join decode."`
	Queue    int    `default:"64" help:"Requests of a pair that may wait for room."`
	Instance string `placeholder:"NAME" help:"What the name of this server begins with, among those that share a database; each start adds letters of its own. Default: the machine's name."`
}

// Run serves until ctx is done and then closes everything in the reverse order.
func (c *serveCommand) Run(ctx context.Context, h env, log *slog.Logger) (err error) {
	mode := web.AuthMode(c.Auth)
	if err := web.CheckBind(c.Addr, mode); err != nil {
		return asFlagError(err)
	}
	if c.TrustProxy {
		return fault.Field("--trust-proxy", "is no longer there, since anybody's X-Forwarded-For was believed: name the proxies with --trusted-proxy")
	}
	origins, err := web.ParseOrigins(c.APIOrigin)
	if err != nil {
		return asFlagError(err)
	}
	trusted, err := web.ParseProxies(c.TrustedProxy)
	if err != nil {
		return asFlagError(err)
	}
	listener, err := web.Listen(c.Addr, web.Certificate{CertFile: c.TLSCert, KeyFile: c.TLSKey})
	if err != nil {
		return asFlagError(err)
	}
	defer listener.Close()
	keepPrivate()
	if err := checkFolder(c.Data); err != nil {
		return err
	}
	if n, err := store.Protect(c.Data); err != nil {
		return asFlagError(err)
	} else if n > 0 {
		log.Warn("files in the data folder could be read by other users of this machine, and are closed to them now", "files", n)
	}

	db, err := store.Open(ctx, store.Config{Data: c.Data, DSN: c.DB, Exclusive: true})
	if err != nil {
		return asFlagError(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	secret, err := loginSecret(ctx, db)
	if err != nil {
		return err
	}

	signer, err := signingKey(ctx, db)
	if err != nil {
		return err
	}

	library := c.library()
	models := pair.Resolver{Library: library, Sums: c.sums()}
	config, err := c.pool(models, c.Data, h, log)
	if err != nil {
		return err
	}
	if c.Workers {
		config.Command, config.Cautious = childCommands(c.pairFlags, c.modelFlags, c.Queue, log)
	}
	pool, err := worker.NewPool(config)
	if err != nil {
		return asFlagError(err)
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	if err := pool.Start(c.Pair); err != nil {
		log.Warn("the default pair cannot be started", "error", err)
	}

	member, err := cluster.Join(ctx, cluster.Config{Store: db, Label: c.label(), Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, member.Close()) }()
	hubConfig := run.Config{Store: db, Decoder: pool, Pairs: models, Logger: log, Server: member, Build: build()}
	generators := experiment.Config{Store: db, Log: log}
	if pool.External() {
		peers := cluster.NewPeers(pool.Conn(), log)
		hubConfig.Peers, generators.Elsewhere = peers, peers
	}
	purger := session.NewPurger(session.PurgeConfig{Store: db, Now: time.Now, Logger: log})
	defer func() { err = errors.Join(err, purger.Close()) }()
	hub := run.NewHub(hubConfig)
	defer func() { err = errors.Join(err, hub.Close()) }()
	work, err := pool.Queue(ctx)
	if err != nil {
		return err
	}
	generators.Queue = work
	generator := experiment.NewGenerator(generators)
	defer func() { err = errors.Join(err, generator.Close()) }()
	sweeps := runner.New(runner.Config{
		Store: db, Generator: generator, Pairs: models, Log: log, Server: member,
		Rewards: reward.Environment{Secret: rewardKey, Endpoint: c.mayAsk, Cache: db},
	})
	defer func() { err = errors.Join(err, sweeps.Close()) }()
	studyService := study.NewService(study.ServiceConfig{
		Store: db, Pairs: models, Generator: generator, Now: time.Now, Logger: log, Server: member, Build: build(),
	})
	defer func() { err = errors.Join(err, studyService.Close()) }()
	if err := member.Start(ctx, hub, sweeps, studyService); err != nil {
		return err
	}
	defer member.Rest() // before what it looks after is closed
	finder := h.finder(c.pairFlags)
	manager := c.manager(models, finder, pool.Unload, h)
	if manager != nil {
		defer func() { err = errors.Join(err, manager.Close()) }()
	}
	pages, err := web.New(web.Config{
		Manager: manager, Finder: finder,
		Hub: hub, Sessions: db, Shares: &share.Service{Store: db, Now: time.Now, Signer: signer}, Studies: db, StudyService: studyService, Experiments: db, Decoder: pool, Models: models,
		Pairs: pool, Library: library, DefaultPair: c.Pair, Build: build(), Log: log, Auth: mode, Password: c.Password,
		Secret: secret, PublicURL: c.PublicURL, BasePath: c.BasePath, Proxies: trusted, Origins: origins, Logins: db, Database: db, Messages: pool, Queue: c.Queue,
		Sweeper: sweeps, Sweeps: db, Keys: db,
	})
	if err != nil {
		return asFlagError(err)
	}
	if c.NATSListen != "" {
		path, err := keepToken(c.Data, pool)
		if err != nil {
			return err
		}
		log.Info("workers may join", "nats", c.NATSListen, "token", path)
	}
	scheme := "http://"
	if c.TLSCert != "" {
		scheme = "https://"
	}
	log.Info("serving", "url", scheme+listener.Addr().String(), "build", build())
	err = pages.Serve(ctx, listener)
	log.Info("stopping")
	// The hub first: runs that wait for their pair to load are refused, so that no socket waits for them.
	return errors.Join(err, hub.Close(), pages.Close())
}

// label is what the name of this server begins with among those that share the database.
func (c *serveCommand) label() string {
	if c.Instance != "" {
		return c.Instance
	}
	host, _ := os.Hostname()
	return host
}

// rewardKey is a secret that rewards of pages may send: any other variable is not for them.
func rewardKey(name string) string {
	if !strings.HasPrefix(name, "REALIGN_KEY_") {
		return ""
	}
	return os.Getenv(name)
}

// mayAsk is an Invalid error for an address that rewards of pages may not ask.
func (c *serveCommand) mayAsk(address string) error {
	asked, err := url.Parse(address)
	if err != nil {
		return fault.Field("url", "is not an address")
	}
	for _, text := range c.Endpoints {
		allowed, err := url.Parse(text)
		if err == nil && allowed.Scheme == asked.Scheme && allowed.Host == asked.Host &&
			strings.HasPrefix(path.Clean("/"+asked.Path)+"/", strings.TrimSuffix(path.Clean("/"+allowed.Path), "/")+"/") {
			return nil
		}
	}
	return fault.Field("url", "is not among the --endpoints that this server may ask")
}

// childCommands make the processes of pairs' workers (worker.Config's Command and Cautious): as asked for, and, where devices were
// left to choose, another that uses none, for a pair whose worker dies while it loads. cautious is nil else.
func childCommands(pairs pairFlags, models modelFlags, queue int, log *slog.Logger) (command, cautious func(name, natsURL, id string) *exec.Cmd) {
	command = childOf(pairs, models, queue, log)
	if choice, _ := models.offload(); choice.Layers == gpu.Auto { // Validate has seen it
		models.GPULayers, models.Devices = "auto", "none"
		without := childOf(pairs, models, queue, log)
		cautious = func(name, natsURL, id string) *exec.Cmd {
			log.Warn("a pair's worker died twice while it loaded: it is started without GPUs", "pair", name)
			return without(name, natsURL, id)
		}
	}
	return command, cautious
}

// childOf makes the process of one pair's worker, which logs as this one does.
func childOf(pairs pairFlags, models modelFlags, queue int, log *slog.Logger) func(name, natsURL, id string) *exec.Cmd {
	return func(name, natsURL, id string) *exec.Cmd {
		program, err := os.Executable()
		if err != nil {
			program = os.Args[0]
		}
		args := append([]string{"worker", "--pair=" + name, "--child", "--worker-id=" + id, "--data=" + pairs.Data, fmt.Sprint("--queue=", queue)},
			append(models.args(), logArgs(log)...)...)
		if pairs.Models != "" {
			args = append(args, "--models="+pairs.Models)
		}
		cmd := exec.Command(program, args...)
		// Secrets go by the environment, which other users cannot read, and a worker gets none but its own.
		for _, line := range os.Environ() {
			if key, _, _ := strings.Cut(line, "="); !secret(key) {
				cmd.Env = append(cmd.Env, line)
			}
		}
		cmd.Env = append(cmd.Env, "REALIGN_NATS="+natsURL)
		return cmd
	}
}

// logArgs are the flags that make a log like this one.
func logArgs(log *slog.Logger) []string {
	level, format := slog.LevelError, "text"
	for _, l := range []slog.Level{slog.LevelWarn, slog.LevelInfo, slog.LevelDebug} {
		if log.Enabled(context.Background(), l) {
			level = l
		}
	}
	if _, ok := log.Handler().(*slog.JSONHandler); ok {
		format = "json"
	}
	return []string{"--log-level=" + strings.ToLower(level.String()), "--log-format=" + format}
}

// checkFolder makes a folder unless it is there, and finds out whether it can be written. The error names --data.
func checkFolder(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".write-"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return fault.Field("--data", "the folder cannot be written: %v", err)
	}
	return nil
}

// loginSecret signs logins; it is made at the first start, so that logins outlive a restart.
func loginSecret(ctx context.Context, db *store.Store) ([]byte, error) {
	const key = "login_secret"
	raw := make([]byte, 32)
	rand.Read(raw)
	text, err := db.MetaOnce(ctx, key, base64.StdEncoding.EncodeToString(raw))
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(text)
}

// signingKey signs what this server decodes; it is made at the first start and kept in the database.
func signingKey(ctx context.Context, db *store.Store) (*run.Signer, error) {
	seed := make([]byte, run.SignerSeed)
	rand.Read(seed)
	text, err := db.MetaOnce(ctx, "signing_key", base64.StdEncoding.EncodeToString(seed))
	if err != nil {
		return nil, err
	}
	if seed, err = base64.StdEncoding.DecodeString(text); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the signing key cannot be read")
	}
	return run.NewSigner(seed)
}
