# make coverage: every test with counters in the product; the places where errors are made (tests/coverage/gate.c) must be reached: all of policy/, 95 % of
# keystore/, 90 % of broker/.  The counters live in files mapped at start (clang's continuous mode): what a process that is killed did is counted, too, and
# the sandbox needs no hole for writing them at the end.
COVERAGE := -O0 -g -fprofile-instr-generate -fcoverage-mapping -mllvm -runtime-counter-relocation -Wno-unused-command-line-argument

coverage: deps-lint
	$(Q)$(MAKE) --no-print-directory BUILD=build-coverage CC=clang HARDEN= OPT='$(COVERAGE)' run-coverage
COVERING := $(addprefix $(BUILD)/security/,test_calls_processes_long test_calls_starts_long test_calls_long)
run-coverage: all $(UNIT) ready-e2e $(COVERING) $(BUILD)/coverage/gate
	$(Q)BUILD=$(BUILD) TEST_TIMEOUT=1800 tests/coverage/run $(COVERING) $(UNIT) $(E2E) $(E2E_SH)

$(BUILD)/coverage/gate: $(BUILD)/tests/coverage/gate.o
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

.PHONY: coverage run-coverage
