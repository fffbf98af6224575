package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"realign/internal/apikey"
	"realign/internal/fault"
	"realign/internal/store"
)

// keysCommand is `realign keys`.
type keysCommand struct {
	Add    keysAdd    `cmd:"" help:"Make a key for a program that uses the API, and print it once."`
	List   keysList   `cmd:"" help:"List the keys."`
	Revoke keysRevoke `cmd:"" help:"End a key."`
}

// keyFlags say where keys are kept: in the server's database, also while it runs.
type keyFlags struct {
	Data string `default:"${data}" placeholder:"DIR" help:"Folder for everything that is kept (default ${data})."`
	DB   string `name:"db" placeholder:"DSN" help:"Database: postgres://… or sqlite:PATH. Default: a file in the data folder."`
}

// open opens the database. The caller closes it.
func (f keyFlags) open(ctx context.Context) (*store.Store, error) {
	if f.DB == "" {
		if err := checkFolder(f.Data); err != nil {
			return nil, err
		}
	}
	db, err := store.Open(ctx, store.Config{Data: f.Data, DSN: f.DB})
	return db, asFlagError(err)
}

// keysAdd is `realign keys add`. Its keys have no owner: no session is stored with them.
type keysAdd struct {
	keyFlags
	Name     string `arg:"" help:"What the key is for."`
	Expires  string `placeholder:"WHEN" help:"When it ends: a date as 2027-01-31, or days as 30d. Default: never."`
	Requests int    `name:"requests-per-minute" placeholder:"N" help:"Requests a minute. Default: no limit."`
	Tokens   int    `name:"tokens-per-minute" placeholder:"N" help:"Tokens a minute, of prompts and completions. Default: no limit."`
	Lanes    int    `placeholder:"N" help:"Lanes at the same time. Default: no limit."`
}

// Run makes a key and prints its secret, which is shown this once.
func (c *keysAdd) Run(ctx context.Context, h env) error {
	now := time.Now()
	expires, err := parseExpiry(c.Expires, now)
	if err != nil {
		return err
	}
	k, secret, err := apikey.New(c.Name, "", expires, apikey.Limits{Requests: c.Requests, Tokens: c.Tokens, Lanes: c.Lanes}, now)
	if err != nil {
		return asFlagError(err)
	}
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.CreateKey(ctx, k, apikey.Hash(secret)); err != nil {
		return err
	}
	fmt.Fprintln(h.stdout, secret)
	fmt.Fprintln(h.stderr, "This is shown once. Programs send it as: Authorization: Bearer "+secret[:len(apikey.Prefix)+4]+"…")
	return nil
}

// parseExpiry reads a date or a number of days; "" is never.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			return now.AddDate(0, 0, n), nil
		}
	} else if date, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return date, nil
	}
	return time.Time{}, fault.Field("--expires", "%.40q is neither a date as 2027-01-31 nor days as 30d", text)
}

// keysList is `realign keys list`.
type keysList struct {
	keyFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows all keys, those of the pages included.
func (c *keysList) Run(ctx context.Context, h env) error {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, err := db.Keys(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(h, keys)
	}
	now := time.Now()
	w := tabwriter.NewWriter(h.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tMADE\tLAST USED\tEXPIRES\tREQUESTS/MIN\tTOKENS/MIN\tLANES")
	for _, k := range keys {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, k.State(now), day(k.CreatedAt, ""), day(k.UsedAt, "never"), day(k.ExpiresAt, "never"), limit(k.Requests), limit(k.Tokens), limit(k.Lanes))
	}
	return w.Flush()
}

// day is a date, or what stands for the zero time.
func day(t time.Time, zero string) string {
	if t.IsZero() {
		return zero
	}
	return t.Format(time.DateOnly)
}

// limit is a limit of a key, in words.
func limit(n int) string {
	if n == 0 {
		return "any"
	}
	return strconv.Itoa(n)
}

// keysRevoke is `realign keys revoke`.
type keysRevoke struct {
	keyFlags
	Name string `arg:"" help:"Name of the key."`
}

// Run revokes the key; calls with it fail from then on.
func (c *keysRevoke) Run(ctx context.Context, h env) error {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.RevokeKey(ctx, c.Name, time.Now()); err != nil {
		return err
	}
	fmt.Fprintf(h.stdout, "revoked %s\n", c.Name)
	return nil
}
