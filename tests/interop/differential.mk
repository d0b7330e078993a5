# make differential [COUNT=20000] [SEED=n]: the token gate against a second implementation, token by token.
COUNT ?= 20000
$(BUILD)/interop/gate: $(call objs,tests/interop/gate.c) $(BUILD)/libpolicy.a $(BUILD)/libbase.a
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

differential: deps
	$(Q)$(MAKE) --no-print-directory run-differential
run-differential: $(BUILD)/interop/gate
	$(Q)tests/interop/node tests/interop/differential.mjs $(BUILD)/interop/gate $(COUNT) $(SEED)

.PHONY: differential run-differential
