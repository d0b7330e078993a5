# make security [ONLY=C06]: the list of attacks and faults, item by item; tests/security/list has the items. Its long tests are in this directory.
SECURITY := $(patsubst tests/security/%.c,$(BUILD)/security/%,$(sort $(wildcard tests/security/test_*.c tests/security/alone-*.c)))
ONLY     ?=

$(SECURITY): $(BUILD)/security/%: $(BUILD)/tests/security/%.o $(BUILD)/libguest.a
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GUEST_LIBS) -lcmocka

security: deps-lint
	$(Q)$(MAKE) --no-print-directory run-security
# Made here, what two of its scripts that run at once would both make.
run-security: all $(UNIT) $(SECURITY) ready-e2e $(BUILD)/mutation/mutate $(MUTATION_TESTS)
	$(Q)BUILD=$(BUILD) tests/security/run $(ONLY)

.PHONY: security run-security
