package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/run"
	"realign/internal/sweep/runner"
	"realign/internal/worker"
)

// tokenFlags say what a NATS server is shown.
type tokenFlags struct {
	NATSToken     string `name:"nats-token" placeholder:"TEXT" help:"Token of the NATS server; better given as REALIGN_NATS_TOKEN, or in a file: other users can read a command line."`
	NATSTokenFile string `name:"nats-token-file" placeholder:"FILE" help:"File with the token on its first line."`
}

// token is what is shown; "" for nothing.
func (f tokenFlags) token() (string, error) {
	if f.NATSTokenFile == "" {
		return f.NATSToken, nil
	}
	if f.NATSToken != "" {
		return "", fault.Field("--nats-token-file", "there is a token already: give one of --nats-token, REALIGN_NATS_TOKEN and --nats-token-file")
	}
	data, err := readFile(f.NATSTokenFile, 4096)
	if err != nil {
		return "", fault.Field("--nats-token-file", "%v", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fault.Field("--nats-token-file", "the first line of %s is empty", f.NATSTokenFile)
	}
	return line, nil
}

// natsFlags say where a server and its workers meet.
type natsFlags struct {
	NATS       string `name:"nats" placeholder:"URL" help:"NATS cluster, with JetStream, that workers on other machines join. Default: a server inside this program."`
	NATSListen string `name:"nats-listen" placeholder:"HOST:PORT" help:"Let workers join the NATS server inside this program at this address, with a token of at least 16 bytes. Default: none but those that it starts."`
	NATSCert   string `name:"nats-tls-cert" placeholder:"FILE" help:"Certificate (PEM) that workers see at --nats-listen, where their systems trust it. Default: one of our own, whose fingerprint is in the token of the data folder's worker-token."`
	NATSKey    string `name:"nats-tls-key" placeholder:"FILE" help:"The certificate's private key (PEM)."`
	tokenFlags
}

// workerTokenFile is where the data folder has what workers show.
const workerTokenFile = "worker-token"

// keepToken writes what workers show to a file that only the server's user can read, and returns its path.
func keepToken(dir string, pool *worker.Pool) (string, error) {
	path := filepath.Join(dir, workerTokenFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fault.Field("--data", "%v", err)
	}
	if err := os.WriteFile(path, []byte(pool.JoinToken()+"\n"), 0o600); err != nil {
		return "", fault.Field("--data", "%v", err)
	}
	return path, nil
}

// tokenCommand prints what workers show.
type tokenCommand struct {
	Data string `default:"${data}" placeholder:"DIR" help:"Data folder of the server (default ${data})."`
	Pair string `placeholder:"NAME" help:"Pair that the token is good for. Default: all."`
}

// Run prints the token of the data folder, or the one for a pair that follows from it.
func (c *tokenCommand) Run(h env) error {
	token, err := tokenFlags{NATSTokenFile: filepath.Join(c.Data, workerTokenFile)}.token()
	if err != nil {
		return fault.Field("--data", "no server with --nats-listen has run on this folder: it keeps the token in %s", workerTokenFile)
	}
	if c.Pair != "" {
		if err := pair.CheckName("--pair", c.Pair); err != nil {
			return err
		}
		token = worker.PairToken(token, c.Pair)
	}
	_, err = fmt.Fprintln(h.stdout, token)
	return err
}

// pool is the configuration of a pool, as far as all commands have it in common.
func (f natsFlags) pool(models pair.Resolver, data string, h env, log *slog.Logger) (worker.Config, error) {
	token, err := f.token()
	return worker.Config{
		Pairs: models.Library, URL: f.NATS, Listen: f.NATSListen, Token: token, TLSCert: f.NATSCert, TLSKey: f.NATSKey, Data: data, Build: build(), Files: models.FileSums, Stderr: h.stderr, Log: log,
	}, err
}

// secret reports whether a variable of the environment is kept from the processes of workers, which get an address with a
// password of its own.
func secret(key string) bool {
	switch key {
	case "REALIGN_PASSWORD", "REALIGN_DB", "REALIGN_NATS", "REALIGN_NATS_LISTEN", "REALIGN_NATS_TOKEN", "REALIGN_NATS_TOKEN_FILE",
		"REALIGN_NATS_TLS_CERT", "REALIGN_NATS_TLS_KEY", "REALIGN_TLS_CERT", "REALIGN_TLS_KEY":
		return true
	}
	return strings.HasPrefix(key, "REALIGN_KEY_")
}

var (
	_ run.Pairs    = pair.Resolver{}
	_ runner.Pairs = pair.Resolver{}
)
