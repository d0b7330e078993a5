# Keybroker.  `make help` says what there is.  V=1 shows the commands; BUILD=DIR keeps variants (asan, clang, fuzz) apart.

BUILD  ?= build
CC     := $(if $(filter default,$(origin CC)),gcc,$(CC))
PREFIX ?= /usr/local
V      ?= 0
Q      := $(if $(filter 1,$(V)),,@)

# ---- packages: the one list ----------------------------------------------------------------------------------------------
PACKAGES_BUILD   := gcc libc6-dev make pkg-config libssl-dev libp11-kit-dev libcjose-dev libevent-dev libjansson-dev \
                    libcurl4-openssl-dev libseccomp-dev libtss2-dev softhsm2
PACKAGES_TEST    := libcmocka-dev openssl curl procps util-linux swtpm cryptsetup-bin strace
PACKAGES_LINT    := clang clang-format clang-tidy cppcheck libclang-rt-14-dev llvm mandoc valgrind systemd universal-ctags

# ---- flags ---------------------------------------------------------------------------------------------------------------
LIBS     := openssl p11-kit-1 cjose libevent_openssl libevent_core jansson libcurl libseccomp
CPPFLAGS := -D_GNU_SOURCE -I. -Ibroker $(shell pkg-config --cflags $(LIBS) 2>/dev/null | sed 's/-I/-isystem /g')
WARN     := -Wall -Wextra -Wconversion -Wshadow -Wswitch-enum -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wundef -Werror
HARDEN   ?= -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection
OPT      ?= -O2 -g
CFLAGS   := -std=c11 $(OPT) $(WARN) $(HARDEN) -fPIE -fno-common -ffile-prefix-map=$(CURDIR)=.
LDFLAGS  := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
LDLIBS   := $(shell pkg-config --libs $(LIBS) 2>/dev/null) -lm

# ---- layers: each may use only what is to its right (`make lint` checks the includes) ---------------------------------
MAINS    := broker/keybrokerd.c broker/keybrokerctl.c broker/keybroker-guest.c
BASE     := $(sort $(wildcard broker/base/*.c))
POLICY   := $(sort $(wildcard policy/*.c))
KEYSTORE := $(sort $(wildcard keystore/*.c))
FOLDERS  := supervisor gateway vault ledger fetcher process api config ctl
BROKER   := $(sort $(wildcard $(FOLDERS:%=broker/%/*.c)))
GUEST    := $(sort $(wildcard broker/guest/*.c))
LAYERS   := $(addprefix $(BUILD)/,libbroker.a libkeystore.a libpolicy.a libbase.a)
objs      = $(patsubst %.c,$(BUILD)/%.o,$(1))

all: $(BUILD)/keybrokerd $(BUILD)/keybrokerctl $(BUILD)/keybroker-guest

$(BUILD)/libbase.a: $(call objs,$(BASE))
$(BUILD)/libpolicy.a: $(call objs,$(POLICY))
$(BUILD)/libkeystore.a: $(call objs,$(KEYSTORE))
$(BUILD)/libbroker.a: $(call objs,$(BROKER))
$(BUILD)/libkeybroker-guest.a: $(call objs,$(GUEST))
$(BUILD)/%.a:
	@echo "  AR   $@"
	$(Q)rm -f $@ && $(AR) rcsD $@ $^

$(BUILD)/%.o: %.c
	@echo "  CC   $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/keybrokerd: $(BUILD)/broker/keybrokerd.o $(LAYERS)
$(BUILD)/keybrokerctl: $(BUILD)/broker/keybrokerctl.o $(LAYERS)
$(BUILD)/keybrokerd $(BUILD)/keybrokerctl:
	@echo "  LD   $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# The guest program goes into an initramfs: of ours it takes base/ and the wrapping schemes, of others TLS, JSON and the TPM stack.
GUEST_SCHEMES := $(call objs,$(sort $(wildcard keystore/scheme*.c)) keystore/kwp.c)
GUEST_LAYERS := $(BUILD)/libkeybroker-guest.a $(GUEST_SCHEMES) $(BUILD)/libbase.a
GUEST_LDLIBS := $(shell pkg-config --libs libssl libcrypto jansson tss2-esys tss2-mu tss2-tctildr 2>/dev/null)
$(BUILD)/keybroker-guest: $(BUILD)/broker/keybroker-guest.o $(GUEST_LAYERS)
	@echo "  LD   $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GUEST_LDLIBS)

# ---- packages: install what is missing when root, else say the one line and stop --------------------------------------------
define need
	@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ]; then echo "  APT " $$missing; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$missing >/dev/null; \
	else echo "Packages are missing. As root, run:"; echo "  apt-get install --no-install-recommends" $$missing; exit 1; fi
endef
deps:
	$(call need,$(PACKAGES_BUILD))
deps-test:
	$(call need,$(PACKAGES_BUILD) $(PACKAGES_TEST))
deps-lint:
	$(call need,$(PACKAGES_BUILD) $(PACKAGES_TEST) $(PACKAGES_LINT))

# What needs packages starts a second make, because the flags above are asked of pkg-config when a Makefile is read.
demo: deps
	$(Q)$(MAKE) --no-print-directory run-demo
test: deps-test
	$(Q)$(MAKE) --no-print-directory all unit run-e2e

# ---- unit tests ------------------------------------------------------------------------------------------------------------
# tests/unit/FOLDER/test_NAME.c mirrors the product's folders; its program is $(BUILD)/unit/test_NAME, so names are unique.
UNIT_SRC   := $(sort $(wildcard tests/unit/*/test_*.c))
UNIT_GUEST := $(patsubst %.c,$(BUILD)/unit/%,$(notdir $(filter tests/unit/guest/%,$(UNIT_SRC))))
UNIT_OTHER := $(patsubst %.c,$(BUILD)/unit/%,$(notdir $(filter-out tests/unit/guest/%,$(UNIT_SRC))))
UNIT       := $(UNIT_OTHER) $(UNIT_GUEST)
$(foreach t,$(UNIT_SRC),$(eval $(BUILD)/unit/$(basename $(notdir $(t))): $(BUILD)/$(t:.c=.o)))

$(UNIT_OTHER): $(LAYERS)
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) -lcmocka

$(UNIT_GUEST): $(GUEST_LAYERS)
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(GUEST_LDLIBS) -lcmocka

# What takes longest starts first, so that no long program runs alone at the end.
longest_first = $(foreach t,$(1),$(filter $(t),$(2))) $(filter-out $(1),$(2))
UNIT_LONG := $(addprefix $(BUILD)/unit/,test_wrap test_fetcher test_nomem_processes test_nomem test_keystore)
unit: $(UNIT)
	$(Q)BUILD=$(BUILD) tests/run-unit $(call longest_first,$(UNIT_LONG),$(UNIT))

# ---- checks ----------------------------------------------------------------------------------------------------------------
C_FILES := $(sort $(wildcard broker/*.[ch] broker/*/*.[ch] policy/*.[ch] keystore/*.[ch] tests/*/*.[ch] tests/unit/*/*.[ch]))

lint: deps-lint
	$(Q)$(MAKE) --no-print-directory all run-lint
run-lint:
	$(Q)BUILD=$(BUILD) tests/lint $(C_FILES)

# keybroker-limits(7) is generated from limits.h and committed; lint checks that it is current.
limits-page:
	@mkdir -p $(BUILD)
	$(Q)tests/limits-page >$(BUILD)/keybroker-limits.7 && cp $(BUILD)/keybroker-limits.7 broker/keybroker-limits.7

SANITIZE := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# Not those that measure memory or search freed memory, which a sanitizer keeps.
ASAN_E2E := test_alloc test_attacks test_boot test_captured test_clients test_faults test_guest test_history test_hsm test_release test_reload test_processes test_rotation
asan: deps-test
	$(Q)$(MAKE) --no-print-directory BUILD=build-asan OPT='$(SANITIZE)' HARDEN= E2E='$(addprefix build-asan/e2e/,$(ASAN_E2E))' all unit run-e2e

clang: deps-lint
	$(Q)$(MAKE) --no-print-directory BUILD=build-clang CC=clang all unit

# ---- fuzzing: clang's libFuzzer; TIME=seconds for each target, TARGET=name for one, TIME=0 only replays the seeds -------------
TIME   ?= 60
TARGET ?= *
FUZZ   := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_$(TARGET).c)))

fuzz: deps-lint
	$(Q)$(MAKE) --no-print-directory BUILD=build-fuzz CC=clang HARDEN= \
		OPT='-O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all' TARGET='$(TARGET)' build-fuzz-targets
	$(Q)$(MAKE) --no-print-directory replay-targets
	$(Q)BUILD=build-fuzz REPLAY=$(BUILD)/replay tests/run-fuzz $(TIME) $(FUZZ)
build-fuzz-targets: $(addprefix $(BUILD)/fuzz/,$(FUZZ))
$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/fuzz_%.o $(LAYERS)
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LDLIBS)

# ---- install -----------------------------------------------------------------------------------------------------------------
install: all
	install -D -m 0755 $(BUILD)/keybrokerd $(DESTDIR)$(PREFIX)/sbin/keybrokerd
	install -D -m 0755 $(BUILD)/keybrokerctl $(DESTDIR)$(PREFIX)/sbin/keybrokerctl
	install -D -m 0755 $(BUILD)/keybroker-guest $(DESTDIR)$(PREFIX)/sbin/keybroker-guest
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 broker/keybrokerd.8 broker/keybrokerctl.8 broker/keybroker-guest.8
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man5 broker/keybroker.json.5
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man7 broker/keybroker-limits.7
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/keybroker conf/doc/install.md conf/doc/refusals.md conf/doc/monitoring.md conf/doc/ledger.md conf/doc/guest.md CHANGELOG.md
	install -D -m 0644 conf/keybroker.service $(DESTDIR)/etc/systemd/system/keybroker.service
	install -D -m 0644 conf/keybroker.sysusers $(DESTDIR)/usr/lib/sysusers.d/keybroker.conf
	install -D -m 0644 conf/keybroker.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/keybroker.conf

# Inside a guest: the program and what its boot needs.  A configuration that is there stays.
install-guest: $(BUILD)/keybroker-guest
	install -D -m 0755 $(BUILD)/keybroker-guest $(DESTDIR)$(PREFIX)/sbin/keybroker-guest
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 broker/keybroker-guest.8
	install -D -m 0755 conf/guest/keyscript $(DESTDIR)$(PREFIX)/lib/keybroker/keyscript
	install -D -m 0644 -t $(DESTDIR)/etc/systemd/system conf/guest/keybroker-unlock.socket conf/guest/keybroker-unlock@.service
	install -D -m 0755 conf/guest/initramfs-tools/hook $(DESTDIR)/etc/initramfs-tools/hooks/keybroker
	install -D -m 0644 conf/guest/initramfs-tools/umask $(DESTDIR)/etc/initramfs-tools/conf.d/keybroker
	install -D -m 0755 conf/guest/initramfs-tools/local-top $(DESTDIR)/etc/initramfs-tools/scripts/local-top/keybroker
	install -D -m 0755 -t $(DESTDIR)/usr/lib/dracut/modules.d/90keybroker conf/guest/dracut/90keybroker/module-setup.sh
	[ -e $(DESTDIR)/etc/keybroker/guest.conf ] || install -D -m 0644 -t $(DESTDIR)/etc/keybroker conf/guest/guest.conf

help:
	@echo 'make                build keybrokerd, keybrokerctl and keybroker-guest in $(BUILD)/'
	@echo 'make demo           a throw-away instance: guests that fetch their keys, one that is refused'
	@echo 'make demo-boot      a confidential VM boots: vTPM state and disk key from the broker; and six that do not boot'
	@echo
	@echo 'make test           unit and end-to-end tests'
	@echo 'make unit           only the unit tests: seconds, no network, no root'
	@echo 'make asan           both under AddressSanitizer and UBSan'
	@echo 'make clang          build and unit tests with clang'
	@echo 'make lint           formatting, clang-tidy, cppcheck, directions of includes, cycles, names, man pages'
	@echo 'make limits-page    the manual page keybroker-limits(7), generated from broker/base/limits.h'
	@echo 'make interop        the official npm client against a running instance (brings Node.js 20 where it is older)'
	@echo 'make differential   the token gate against a second implementation; COUNT=20000 tokens, SEED=n'
	@echo 'make fuzz           libFuzzer over every parser; TIME=60 seconds each, TARGET=http for one, TIME=0 replays the seeds'
	@echo 'make mutation       each check of policy/ and of the wrapping changed: the tests must notice; SAMPLE=15, FILES=…'
	@echo 'make coverage       places where errors are made that no test reaches'
	@echo 'make controls       every detector meets a planted fault; CONTROL=lint for a part'
	@echo 'make security       the list of attacks and faults, item by item, with the long tests; ONLY=C or ONLY=C06 for a part'
	@echo 'make soak           mixed load and a fault every ten seconds for MINUTES=30; SEED=n, JSON=FILE'
	@echo 'make bench          CPU of a release against the floor of unavoidable cryptography; SECONDS=20'
	@echo 'make bench-storm    many guests that boot at once: how long, at what cost, who waits; GUESTS=10000'
	@echo
	@echo 'make install        the broker, to $$(DESTDIR)$$(PREFIX)'
	@echo 'make install-guest  what a guest needs, to $$(DESTDIR)$$(PREFIX)'
	@echo 'make deps           install the packages of the build when root, else print the one line that does'
	@echo 'make deps-test      … and those of the tests'
	@echo 'make deps-lint      … and those of lint, fuzz, coverage and controls'
	@echo 'make clean          remove build and build-*'
	@echo
	@echo 'Everywhere: V=1 shows the commands, BUILD=DIR builds elsewhere.  tests/README.md has the rest.'

clean:
	rm -rf build build-*

-include $(wildcard tests/*/*.mk)
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all deps deps-test deps-lint demo test unit lint run-lint limits-page asan clang fuzz build-fuzz-targets install install-guest help clean
.SECONDARY:
