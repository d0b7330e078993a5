# make bench [SECONDS=20]: what a release costs, against the floor.  make bench-storm [GUESTS=10000]: many guests that boot at once.
BENCH_SECONDS := $(if $(filter command environment,$(origin SECONDS)),$(SECONDS),20)

$(BUILD)/bench/floor: $(call objs,tests/bench/floor.c) $(BUILD)/libguest.a
$(BUILD)/bench/bench: $(call objs,$(addprefix tests/bench/,bench.c load.c measure.c)) $(BUILD)/libguest.a
$(BUILD)/bench/storm: $(call objs,$(addprefix tests/bench/,storm.c fleet.c load.c measure.c) tests/e2e/issuer_keys.c) $(BUILD)/libguest.a $(BUILD)/libbase.a
$(BUILD)/bench/floor $(BUILD)/bench/bench $(BUILD)/bench/storm:
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GUEST_LIBS) -ldl

bench: deps
	$(Q)$(MAKE) --no-print-directory run-bench
run-bench: all $(BUILD)/e2e/test-issuer $(BUILD)/bench/floor $(BUILD)/bench/bench
	$(Q)BUILD=$(BUILD) $(BUILD)/bench/bench $(BENCH_SECONDS)

GUESTS ?= 10000
bench-storm: deps
	$(Q)$(MAKE) --no-print-directory run-bench-storm
run-bench-storm: all $(BUILD)/e2e/test-issuer $(BUILD)/bench/floor $(BUILD)/bench/storm
	$(Q)BUILD=$(BUILD) $(BUILD)/bench/storm $(GUESTS)

.PHONY: bench run-bench bench-storm run-bench-storm
