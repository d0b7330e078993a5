# make soak [MINUTES=30] [SEED=n] [JSON=FILE]: half of what the machine can do, with a fault every ten seconds.
MINUTES ?= 30
SOAK    := $(call objs,$(sort $(wildcard tests/soak/*.c)))

$(BUILD)/soak/soak: $(SOAK) $(BUILD)/libguest.a
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GUEST_LIBS) -lm

soak: deps-test
	$(Q)$(MAKE) --no-print-directory run-soak
run-soak: all $(BUILD)/e2e/test-issuer $(BUILD)/soak/soak
	$(Q)BUILD=$(BUILD) $(BUILD)/soak/soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json $(JSON))

.PHONY: soak run-soak
