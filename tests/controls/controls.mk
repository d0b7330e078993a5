# make controls [CONTROL=lint]: every detector sees its planted fault (tests/controls/run); CONTROL: only those whose names contain the word.
$(BUILD)/controls/canary: $(call objs,tests/controls/canary.c) $(BUILD)/libguest.a
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GUEST_LIBS)

controls: deps-lint
	$(Q)$(MAKE) --no-print-directory run-controls
run-controls: $(BUILD)/controls/canary $(BUILD)/coverage/gate $(BUILD)/mutation/mutate $(MUTATION_TESTS)
	$(Q)BUILD=$(BUILD) CC='$(CC)' tests/controls/run $(CONTROL)

.PHONY: controls run-controls
