# sheave: the one entry point for people and for CI. `make` alone prints this help.

SHELL        := /bin/bash
.SHELLFLAGS  := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO        ?= cargo
TARGET       := $(or $(CARGO_TARGET_DIR),target)
SUDO         := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Tests that make namespaces and AF_XDP sockets run as root; building does not.
ifneq ($(SUDO),)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := sudo -E
endif

BUILD_PACKAGES := clang llvm libc6-dev linux-libc-dev gcc make valgrind
LAB_PACKAGES   := iproute2 ethtool nginx-light curl tcpdump tshark iputils-ping traceroute bpftool procps vsftpd keepalived
PERF_PACKAGES  := nftables haproxy nginx-light libnginx-mod-stream dpdk dpdk-dev librte-net-af-xdp23 fonts-dejavu-core
VM_PACKAGES    := qemu-system-x86 busybox-static kmod cpio ipvsadm xz-utils
PACKAGES       := $(BUILD_PACKAGES) $(LAB_PACKAGES)
FUZZ_SECONDS   ?= 600
T              ?= wire config api packet_path syn_proxy

##@ The two commands

.PHONY: demo
demo: deps release ## NAT, DR and TUN on real traffic in namespaces (root; under two minutes once built)
	$(CARGO) build --release -q -p sheave-testbeds
	$(SUDO) $(TARGET)/release/demo

.PHONY: test
test: deps unit loom instructions e2e ## everything that CI runs: unit, property, golden, loom, instruction counts, end to end on AF_XDP, interop

##@ Building

.PHONY: build
build: ## a debug build of everything
	$(CARGO) build --workspace

.PHONY: release
release: ## the programs, optimised: target/release/sheaved and target/release/sheave
	$(CARGO) build --release -p sheave-director -p sheave-cli

.PHONY: man
man: release ## man pages and shell completions under target/man and target/completions
	mkdir -p $(TARGET)/man
	$(TARGET)/release/sheaved --man > $(TARGET)/man/sheaved.8
	$(TARGET)/release/sheave man $(TARGET)/man
	$(TARGET)/release/sheave completions --all $(TARGET)/completions

.PHONY: deps
deps: ## install the Debian packages that building and testing need (only what is missing)
	@missing=$$(for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  echo "installing:" $$missing; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@command -v $(CARGO) >/dev/null || { echo "error: cargo: not found: install Rust with rustup, then open a new shell" >&2; exit 1; }

##@ Checking

.PHONY: lint
lint: ## formatting, clippy without a warning, licences and duplicate crates where cargo-deny is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -q -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny check licenses bans sources; \
	else echo "note: cargo-deny is not installed: 'make deny' installs and runs it"; fi

.PHONY: deny
deny: ## licences, banned and duplicate crates, sources (installs cargo-deny)
	command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check licenses bans sources

.PHONY: unit
unit: ## unit, property, golden and corpus tests: no root needed but for the AF_XDP ones of dataplane/io
	$(CARGO) test --workspace --exclude sheave-testbeds -q --no-fail-fast

.PHONY: loom
loom: ## every interleaving of the lock-free tables, rings and publication
	RUSTFLAGS="--cfg loom" $(CARGO) test --target-dir $(TARGET)/loom --release -q -p sheave-table --lib loom

.PHONY: instructions instructions-write
instructions: deps ## instructions a packet, against perf/instructions.csv (valgrind)
	$(CARGO) bench -q -p sheave-perf --bench instructions -- check
instructions-write: deps ## write perf/instructions.csv anew, where a change is meant
	$(CARGO) bench -q -p sheave-perf --bench instructions -- write

.PHONY: e2e
e2e: deps ## end to end on AF_XDP in namespaces (root)
	$(CARGO) build -q -p sheave-director -p sheave-cli -p sheave-pktgen -p sheave-testbeds
	$(CARGO) test -q -p sheave-testbeds -- --test-threads=1

.PHONY: interop
interop: deps ## only the end-to-end tests against independent decoders and stacks
	$(CARGO) build -q -p sheave-director -p sheave-cli -p sheave-testbeds
	$(CARGO) test -q -p sheave-testbeds --test interop -- --test-threads=1

.PHONY: fuzz
fuzz: ## run fuzzers: make fuzz T=wire FUZZ_SECONDS=600 (all targets by default; installs cargo-fuzz)
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	for t in $(T); do \
	  mkdir -p fuzz/found/$$t; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir fuzz --sanitizer none $$t fuzz/found/$$t fuzz/corpus/$$t -- -max_total_time=$(FUZZ_SECONDS) -timeout=10; \
	done

.PHONY: nightly
nightly: ## the packet path against its model, ten million frames without and ten with faults (prints seeds; SHEAVE_SEED=N repeats one)
	$(CARGO) test --release -q -p sheave-pipeline --test model -- --ignored --nocapture
	$(CARGO) test --release -q -p sheave-worker --test faults -- --ignored --nocapture

.PHONY: bench
bench: ## time of the packet path in memory, the numbers that have targets, instructions
	$(CARGO) bench -p sheave-perf

.PHONY: sim
sim: ## how evenly each scheduler spreads connections, and how many flows a change moves
	$(CARGO) run --release -q -p sheave-pipeline --features testing --example spread

.PHONY: perf-quick perf perf-full perf-publish
perf-quick: ## end to end beside its ceiling and nftables (root, a quiet machine, two minutes once built)
perf: ## end to end side by side with all peers (root, a quiet machine, 15 minutes): see docs/performance.md
perf-full: ## the same, every case for everybody (root, a quiet machine, hours)
perf-publish: ## perf, and its results into docs/performance.md; RELEASE=NAME adds a line to perf/history
perf-quick perf perf-full perf-publish: PACKAGES += $(PERF_PACKAGES)
perf-quick perf perf-full perf-publish: deps
	$(CARGO) build --release -q -p sheave-director -p sheave-perf-lab
	$(SUDO) $(TARGET)/release/sheave-perf $(if $(filter %-quick %-full,$@),$(@:perf-%=%),default) --target $(TARGET) \
	  $(if $(filter perf-publish,$@),--publish) $(if $(RELEASE),--release $(RELEASE)) $(PERF_FLAGS)

.PHONY: perf-vm
perf-vm: ## kernel IPVS and sheave in one guest without KVM, in instructions a packet, over veth and with zero-copy (twenty minutes)
perf-vm: PACKAGES += $(VM_PACKAGES)
perf-vm: deps
	$(CARGO) build --release -q -p sheave-director -p sheave-pktgen
	perf/vm/run.sh $(TARGET) $(BENCH)

.PHONY: image
image: ## not there yet: says so and fails
	@echo "error: make $@: not supported yet" >&2; exit 2

.PHONY: ci
ci: lint test ## what CI runs

.PHONY: clean
clean: ## remove what was built
	$(CARGO) clean

.PHONY: help
help:
	@awk 'BEGIN {FS = ":.*##"; printf "usage: make TARGET\n"} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-zA-Z0-9_ -]+:.*?##/ {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
