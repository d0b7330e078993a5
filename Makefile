# Keybroker.  `make help` says what there is.  V=1 shows commands.  BUILD=dir keeps variants apart (asan, clang).

BUILD   ?= build
CC      ?= gcc
PREFIX  ?= /usr/local
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)

# ---- packages: the one list -------------------------------------------------------------------
PACKAGES_BUILD := gcc make pkg-config libc6-dev libssl-dev libp11-kit-dev libcjose-dev libevent-dev libjansson-dev \
                  libcurl4-openssl-dev libseccomp-dev softhsm2
PACKAGES_TEST  := libcmocka-dev openssl procps util-linux strace
PACKAGES_LINT  := clang clang-format clang-tidy cppcheck libclang-rt-14-dev mandoc

# ---- flags ------------------------------------------------------------------------------------
LIBS     := openssl p11-kit-1 cjose libevent_openssl libevent_core jansson libcurl libseccomp
CPPFLAGS += -D_GNU_SOURCE -I. -Ibroker $(shell pkg-config --cflags $(LIBS) 2>/dev/null | sed 's/-I\/usr\/include /-isystem \/usr\/include /')
WARN     := -Wall -Wextra -Wconversion -Wshadow -Wswitch-enum -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wundef -Werror
HARDEN   ?= -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection
OPT      ?= -O2 -g
CFLAGS   += -std=c11 $(OPT) $(WARN) $(HARDEN) -fPIE -fno-common
LDFLAGS  += -pie -Wl,-z,relro,-z,now -Wl,--as-needed
LDLIBS   := $(shell pkg-config --libs $(LIBS) 2>/dev/null)

# ---- layers: base, policy, keystore, broker; each may use only those to its left (make lint checks) ------------
src = $(sort $(wildcard $(1)))
MAINS    := broker/keybrokerd.c broker/keybrokerctl.c
BASE     := $(call src,broker/base/*.c)
POLICY   := $(call src,policy/*.c)
KEYSTORE := $(call src,keystore/*.c)
BROKER   := $(filter-out $(MAINS),$(call src,broker/*.c))
objs      = $(patsubst %.c,$(BUILD)/%.o,$(1))
LAYERS   := $(BUILD)/libbroker.a $(BUILD)/libkeystore.a $(BUILD)/libpolicy.a $(BUILD)/libbase.a

all: $(BUILD)/keybrokerd $(BUILD)/keybrokerctl

$(BUILD)/libbase.a: $(call objs,$(BASE))
$(BUILD)/libpolicy.a: $(call objs,$(POLICY))
$(BUILD)/libkeystore.a: $(call objs,$(KEYSTORE))
$(BUILD)/libbroker.a: $(call objs,$(BROKER))
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

# ---- tests ------------------------------------------------------------------------------------
UNIT  := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(call src,tests/unit/test_*.c))

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(LAYERS)
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

unit: $(UNIT)
	$(Q)tests/run-unit $(UNIT)

clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all unit clean
.SECONDARY:
