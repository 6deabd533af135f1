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

# Packages that launch no container: the race detector can watch them whole.
RACE = $(addprefix ./libcontainer/,bundle validate plan state cgroup host)

# The program `make run` starts in the demo container; `make run ARGS=sh` gives a shell.
ARGS ?= sh -c 'echo "hello from $$(hostname), as process $$$$"; id; ps; mount | head -n 3'

GOLANGCI_VERSION = v2.15.0
GOLANGCI         = .tools/golangci-lint-$(GOLANGCI_VERSION)

export CGO_ENABLED = 0
# Version and commit are set by LDFLAGS; git's opinion of who owns the clone must not stop a build.
export GOFLAGS += -buildvcs=false

.DEFAULT_GOAL = help
.PHONY: help build run test lint vm-test conformance bench fuzz install generate packages

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build bin/runc (static; the seccomp compiler embedded) and bin/runc-wasm
	$(COMPILER)/build
	go build -trimpath -tags '$(TAGS) seccomp_embed' -ldflags '$(LDFLAGS)' -o bin/runc.linked ./runc
	@# A copy starts 5 % faster: what the linker wrote lies in the page cache page by page.
	install -m 0755 bin/runc.linked bin/runc && rm bin/runc.linked
	go build -trimpath -ldflags '-s -w' -o bin/runc-wasm ./libcontainer/wasm

run: packages build ## build, make a busybox bundle in bin/demo, run a container in it
	hack/make-bundle bin/demo $(ARGS)
	bin/runc run --bundle bin/demo demo

test: packages build ## vet, unit and whole-system tests, race detector, replay loop on arm64 and riscv64
	go vet -tags $(TAGS) ./...
	go test -tags $(TAGS) -count=1 ./libcontainer/... ./runc/...
	go test -tags $(TAGS) -count=1 -p 1 -timeout 30m ./tests/... # one at a time: they watch the machine's mounts and cgroups
	CGO_ENABLED=1 go test -count=1 ./$(COMPILER)/...
	CGO_ENABLED=1 go test -race -count=1 $(RACE)
	hack/test-arches

vm-test: packages build ## the tests that need pure cgroup v2, systemd, AppArmor, SELinux, NUMA or CRIU, in qemu
	@hack/install-packages vm
	go run ./tests/vm/suite $(VM)

lint: packages $(GOLANGCI) ## golangci-lint, shellcheck, cross-builds
	CGO_ENABLED=1 $(GOLANGCI) run
	shellcheck .ci/run hack/* $(COMPILER)/build
	hack/cross-build

conformance: packages build ## OCI runtime-tools validation, ours beside Debian's runc
	go run ./tests/conformance -runtime bin/runc -peer /usr/sbin/runc

bench: packages build ## CPU of run, exec and create+start+delete against crun and runc
	go run ./tests/bench

fuzz: ## every fuzz target, 30 seconds each
	hack/fuzz 30s

install: build ## install runc, the programs that it runs, its manual pages and completion under $(DESTDIR)$(PREFIX)
	install -D -m 0755 bin/runc $(DESTDIR)$(PREFIX)/sbin/runc
	install -D -m 0755 bin/runc-wasm $(DESTDIR)$(PREFIX)/libexec/gantry/runc-wasm
	install -d $(SHARE)/man/man8 $(addprefix $(SHARE)/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	install -m 0644 docs/man/*.8 $(SHARE)/man/man8
	bin/runc completion bash > $(SHARE)/bash-completion/completions/runc
	bin/runc completion zsh > $(SHARE)/zsh/site-functions/_runc
	bin/runc completion fish > $(SHARE)/fish/vendor_completions.d/runc.fish

generate: ## rewrite generated files
	go generate ./...

packages:
	@hack/install-packages

$(GOLANGCI):
	GOBIN=$(CURDIR)/.tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv .tools/golangci-lint $@
