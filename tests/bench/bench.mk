# make bench [SECONDS=20]: what a release costs, against the floor.
BENCH_SECONDS := $(if $(filter command environment,$(origin SECONDS)),$(SECONDS),20)

$(BUILD)/bench/floor: $(call objs,tests/bench/floor.c) $(BUILD)/libguest.a
$(BUILD)/bench/bench: $(call objs,tests/bench/bench.c tests/bench/load.c) $(BUILD)/libguest.a
$(BUILD)/bench/floor $(BUILD)/bench/bench:
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GUEST_LIBS) -ldl

bench: deps
	$(Q)$(MAKE) --no-print-directory run-bench
run-bench: all $(BUILD)/e2e/test-issuer $(BUILD)/bench/floor $(BUILD)/bench/bench
	$(Q)BUILD=$(BUILD) $(BUILD)/bench/bench $(BENCH_SECONDS)

.PHONY: bench run-bench
