# SPDX-License-Identifier: GPL-2.0
#
# make KDIR=<kernel build tree>   build the module for that kernel
# make demo | test | lint | vm    everything else, by scripts/xtask in a
#                                 Debian 13 build root that is made on demand
#
# kbuild itself reads Kbuild, not this file.

KDIR ?=
KERNEL ?=
XTASK := scripts/in-root cargo xtask
VERSION := $(if $(KERNEL),--kernel $(KERNEL))

.PHONY: default modules modules_install clean help build demo test lint vm
.PHONY: sim mutants soak fuzz test-debug bench bench-scaling

ifeq ($(KDIR),)
default: help
else
default: modules
endif

modules:
	@scripts/check-kdir '$(KDIR)'
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

modules_install:
	@scripts/check-kdir '$(KDIR)'
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules_install

clean:
	scripts/clean

build demo test lint vm sim mutants soak fuzz test-debug bench bench-scaling:
	@$(XTASK) $@ $(VERSION) $(ARGS)

help:
	@echo 'make demo           the main job, shown in a virtual machine (sets everything up)'
	@echo 'make test           every test (sets everything up)'
	@echo 'make bench          ours and its peers, measured side by side (ARGS="--row NAME")'
	@echo 'make bench-scaling  how cost grows with volume, extents and processors'
	@echo 'make soak           power cuts on the real module, on from where it stopped'
	@echo 'make sim            a million simulated power cuts on failing devices (minutes)'
	@echo 'make mutants        deliberate faults in the engine, and what catches each'
	@echo 'make test-debug     the tests of the virtual machine in a kernel with KASAN, lockdep ...'
	@echo 'make KDIR=<tree>    the module for your own kernel: <tree> is its build tree, with'
	@echo '                    CONFIG_RUST=y and the Rust metadata (rust/*.rmeta) built'
	@echo 'make build          the module for the stock Debian kernel: build/dm-restore.ko'
	@echo '                    (cargo xtask build --kernel <version> for another one)'
	@echo 'make fuzz           breed hostile input for the engine (ARGS=--seconds=600)'
	@echo 'make modules_install KDIR=<tree> | clean | lint | vm'
