# Realign. Set-up is part of every target: it installs what is missing and says so.
#
#   make run      build and serve on http://127.0.0.1:8080 with the demo pair
#   make test     every test but the browser's
#   make build    bin/realign
#   make lint     formatting, vet, staticcheck, generated code, known vulnerabilities
#   make e2e      the browser tests
#   make memory   the peak of the server's memory, whatever is sent to it (minutes; needs /proc)
#   make soak     a server and its workers killed, cut off, out of disk and told to stop, again and again (not in CI)
#   make clients  real clients of the API, the two smallest, from their registries
#   make bench    the engine against bare forward passes, shared work against separate runs, and Realign against a loop over
#                 two contexts of llama.cpp and against transformers (PYTHON=… names a Python with llama-cpp-python, and with
#                 training/requirements.txt)
#   make gpu-backend  llama.cpp for GPUs, BACKEND=vulkan (the default), cuda or hip: see docs/gpu.md
#   make gpu-test     that backend against the CPU; for vulkan on Mesa's device in software
#   make gpu-kit      an archive that builds that backend on another machine, checks it there and measures it, without Go and without
#                     a network; make gpu-kit-test tries the one for vulkan here, on Mesa's device
#   make smollm2  download the larger pair's reference, 93 MB (or FILE=… to take one that you have)
#   make example  decode the example of the first page again, with the demo pair
#   make release  an archive for linux/amd64 (or ARCH=arm64) that runs on any such processor, without a compiler or Go (llama.cpp
#                 three times: minutes)
#   make release-test  that archive under qemu with an old processor, and on a fresh Debian
#   make web      regenerate templates and the pages' bundle after a change
#   make clean    remove what was built (Go's own cache stays)

.PHONY: example release release-test build run test test-go test-web lint generated web e2e clients memory soak bench gpu-backend gpu-test gpu-kit gpu-kit-test smollm2 setup clean
.DEFAULT_GOAL := build

# llama.cpp is compiled with flags of its own: see scripts/cgo.
cgo := scripts/cgo

# Packages that link llama.cpp, themselves or in a test. They are not run under the race detector, which
# would compile llama.cpp once more.
linked = $(shell go list -f '{{.ImportPath}} {{join .Deps " "}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... \
	| grep internal/decode/llamacpp | cut -d' ' -f1)
others = $(filter-out $(linked),$(shell go list ./...))

version := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

staticcheck := honnef.co/go/tools/cmd/staticcheck@v0.8.2
govulncheck := golang.org/x/vuln/cmd/govulncheck@v1.9.0

setup:
	@scripts/setup build web

build:
	@scripts/setup build
	@test -x bin/realign || echo "compiling llama.cpp: a few minutes the first time, seconds later" >&2
	$(cgo) go build -ldflags "-X main.version=$(version)" -o bin/realign ./cmd/web

run: build
	bin/realign serve

test: test-go test-web

# With REALIGN_BIN set the web tests also kill the real server and its worker; those tests, the ones of many annotators
# and of large tables, simulated studies and sweeps, and thousands of replies are about time, other processes and numbers, and run without the race detector.
test-go: build
	$(cgo) go vet ./...
	@scripts/setup postgres
	scripts/postgres go test -race -timeout 20m $(others)
	REALIGN_BIN=$(CURDIR)/bin/realign go test -timeout 20m -run 'Crash|Fifty|LargeTable|Latency|Hostile|EqualsDecode' ./internal/web
	go test -timeout 20m -run 'Covered|Flat|Active|Inverted|Taste|Sides|Halving' ./internal/preference
	go test -timeout 20m -run 'Coverage|Reweighting|Refinement|Noise|FewPrompts|Shapes|Movement|WholeReplies' ./internal/sweep
	go test -timeout 20m -run 'ExactLaw|SpeculationEqualsPlain' ./internal/decode
	scripts/postgres go test -timeout 20m -run OneConnection ./internal/store
	$(cgo) go test -timeout 20m $(linked)
	REALIGN_BIN=$(CURDIR)/bin/realign $(cgo) go test -timeout 20m -run BrokenBackend ./cmd/web

memory: build
	REALIGN_BIN=$(CURDIR)/bin/realign go test -count=1 -timeout 20m -run 'Memory' -v ./internal/web

test-web:
	@scripts/setup web
	npm test --silent

lint: generated
	@test -z "$$(gofmt -l cmd internal web | tee -a /dev/stderr)"
	$(cgo) go vet ./...
	$(cgo) go run $(staticcheck) ./...
	npm run lint --silent
	@GOBIN=$(CURDIR)/build go install $(govulncheck)
	@$(cgo) build/govulncheck ./... || { test $$? -ne 3 && echo "govulncheck could not run: its database is out of reach" >&2; }

web:
	@scripts/setup web
	go tool templ generate -log-level warn
	npm run build --silent

# What is committed is what the sources make.
generated: web
	git diff --exit-code -- web

# What somebody sees who comes for the first time: really decoded, and kept as it came.
example: build
	bin/realign map --pair demo --from 0 --to 2 --seed 1 --max-tokens 48 --prompt "What did you think of the film?" --json > internal/web/example.json

# The tests of crashes with more rounds, and a proxy that misbehaves, a full disk and SIGTERM in every state: about a minute a round.
ROUNDS ?= 10

soak: build
	REALIGN_SOAK_ROUNDS=$(ROUNDS) REALIGN_BIN=$(CURDIR)/bin/realign go test -timeout 3h -v -run 'Soak|Crash|SomebodyElse' ./internal/web

e2e: build
	@scripts/setup web e2e postgres
	scripts/postgres npm run e2e --silent

clients: build
	scripts/clients/run openai-python openai-node

PYTHON ?= python3
larger = $(wildcard models/smollm2/base/*.gguf)

bench: build
	bin/realign bench
ifeq ($(larger),)
	@echo "The pair smollm2 is left out: make smollm2 downloads it."
else
	bin/realign bench --pair smollm2 --tokens 24
	@if $(PYTHON) -c 'import gguf, torch, transformers' 2>/dev/null; then set -x; $(PYTHON) -m training.bench_hf --realign bin/realign --tokens 24; \
	else echo "Transformers are left out: PYTHON=… must name a Python with training/requirements.txt."; fi
	@if $(PYTHON) -c 'import numpy, llama_cpp' 2>/dev/null; then set -x; $(PYTHON) -m training.bench_peer --realign bin/realign; \
	else echo "The loop over two contexts of llama.cpp is left out: PYTHON=… must name a Python with numpy and llama-cpp-python."; fi
endif
	$(cgo) go test -run '^$$' -bench . ./internal/decode ./internal/decode/llamacpp ./internal/decode/llamacpp/attention ./internal/decode/llamacpp/products ./internal/store

BACKEND ?= vulkan

gpu-backend:
	@scripts/gpu-backend $(BACKEND) $(CMAKE_ARGS)

gpu-test: build
	@scripts/gpu-test $(BACKEND)

# Of a backend for other machines: the one for NVIDIA's cards, unless BACKEND says which.
gpu-kit: KIT = $(if $(filter command line environment,$(origin BACKEND)),$(BACKEND),cuda)
gpu-kit:
	@VERSION=$(version) scripts/gpu-kit $(KIT)

gpu-kit-test:
	@VERSION=$(version) scripts/gpu-kit-test

# The file must be the one that models/smollm2/reference.json names by its sum.
smollm2:
	@scripts/setup python
	@scripts/smollm2 $(FILE)

ARCH ?= amd64

release:
	@VERSION=$(version) scripts/release $(ARCH)

release-test:
	go test -run Levels ./cmd/launch
	@scripts/release-test $(ARCHIVE)

clean:
	rm -rf bin build test-results
