# Targets for people and for .ci/run. No logic here: what needs an if lives in hack/.
# Nothing but the seccomp compiler, the linter's view of it, and -race uses cgo.

PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= 0.1.0-dev
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

TAGS     = urfave_cli_no_docs
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
COMPILER = libcontainer/seccomp/compiler
SHARE    = $(DESTDIR)$(PREFIX)/share

# The program `make run` starts in the demo container; `make run ARGS=sh` gives a shell.
ARGS ?= sh -c 'echo "hello from $$(hostname), as process $$$$"; id; ps; mount | head -n 3'

GOLANGCI_VERSION = v2.15.0
GOLANGCI         = .tools/golangci-lint-$(GOLANGCI_VERSION)

export CGO_ENABLED = 0
# Version and commit are set by LDFLAGS; git's opinion of who owns the clone must not stop a build.
export GOFLAGS += -buildvcs=false

.DEFAULT_GOAL = help
.PHONY: help build run test test-full lint vm-test conformance bench fuzz install generate packages clients

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build bin/runc (static; the seccomp compiler embedded), bin/runc-wasm, the shim, the manager, the engine and docker-init
	$(COMPILER)/build
	go build -trimpath -tags '$(TAGS) seccomp_embed' -ldflags '$(LDFLAGS)' -o bin/runc.linked ./runc
	@# A copy starts 5 % faster: what the linker wrote lies in the page cache page by page.
	install -m 0755 bin/runc.linked bin/runc && rm bin/runc.linked
	go build -trimpath -ldflags '-s -w' -o bin/runc-wasm ./libcontainer/wasm
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/containerd-shim-gantry-v2 ./shim
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/gantry-manager ./manager/cmd/gantry-manager
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/gantry-engine ./engine/cmd/gantry-engine
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/docker-init ./engine/cmd/docker-init

run: packages build ## build, make a busybox bundle in bin/demo, run a container in it
	hack/make-bundle bin/demo $(ARGS)
	bin/runc run --bundle bin/demo demo

test: packages build clients ## unit tests with the race detector, whole-system tests, replay loop on arm64 and riscv64
	hack/test-units
	hack/test-system -tags $(TAGS)
	hack/client-suite -quick
	hack/client-suite -quick -manager
	hack/test-arches

test-full: packages build clients ## the same, with the units tested without the race detector, too, and long tests whole
	go vet -tags $(TAGS) ./...
	go test -tags $(TAGS) -count=1 ./libcontainer/... ./runc/... ./shim/... ./manager/... ./engine/...
	hack/client-suite
	hack/client-suite -manager
	$(MAKE) test

vm-test: packages build clients ## the tests in qemu: pure cgroup v2, AppArmor, systemd, clients; VM=-quick is a choice of them
	@hack/install-packages vm
	go run ./tests/vm/suite $(VM)

lint: packages $(GOLANGCI) ## golangci-lint, shellcheck, cross-builds
	CGO_ENABLED=1 $(GOLANGCI) run
	shellcheck .ci/run hack/* $(COMPILER)/build
	hack/cross-build

conformance: packages build ## OCI runtime-tools validation, ours beside Debian's runc
	go run ./tests/conformance -runtime bin/runc -peer /usr/sbin/runc

bench: packages build clients ## CPU of run, exec and create+start+delete against crun and runc; the shim and the manager against containerd's
	go run ./tests/bench
	go test -tags $(TAGS) -run '^$$' -bench . -benchtime 40x ./tests/shim
	go test -tags $(TAGS) -run '^$$' -bench . -benchtime 20x ./tests/bench/manager
	go test -tags $(TAGS) -run '^$$' -bench . -benchtime 10x -timeout 60m ./tests/bench/engine

fuzz: ## every fuzz target, 30 seconds each
	hack/fuzz 30s

install: build ## install runc, the programs that it runs, their manual pages and completion, the shim, the manager and the engine, under $(DESTDIR)$(PREFIX)
	install -D -m 0755 bin/runc $(DESTDIR)$(PREFIX)/sbin/runc
	install -D -m 0755 bin/runc-wasm $(DESTDIR)$(PREFIX)/libexec/gantry/runc-wasm
	install -D -m 0755 bin/containerd-shim-gantry-v2 $(DESTDIR)$(PREFIX)/bin/containerd-shim-gantry-v2
	install -D -m 0755 bin/gantry-manager $(DESTDIR)$(PREFIX)/bin/gantry-manager
	install -D -m 0755 bin/gantry-engine $(DESTDIR)$(PREFIX)/bin/gantry-engine
	install -D -m 0755 bin/docker-init $(DESTDIR)$(PREFIX)/bin/docker-init
	install -d $(SHARE)/man/man8 $(addprefix $(SHARE)/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	install -m 0644 docs/man/*.8 $(SHARE)/man/man8
	bin/runc completion bash > $(SHARE)/bash-completion/completions/runc
	bin/runc completion zsh > $(SHARE)/zsh/site-functions/_runc
	bin/runc completion fish > $(SHARE)/fish/vendor_completions.d/runc.fish

generate: ## rewrite generated files
	go generate ./...

packages:
	@hack/install-packages

clients:
	@hack/install-clients

$(GOLANGCI):
	GOBIN=$(CURDIR)/.tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv .tools/golangci-lint $@
