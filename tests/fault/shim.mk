# The storage and clock shim, preloaded by the tests of storage and time; shim_use.o is their side of it.
$(BUILD)/fault/storage_shim.so: tests/fault/storage_shim.c tests/fault/storage_shim.h
	@echo "  SO   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(filter-out $(NOT_IN_SO),$(CFLAGS)) -fPIC -shared -o $@ $<

SHIMMED := $(addprefix $(BUILD)/e2e/,test_storage test_storage_kill test_storage_power test_storage_files test_history test_time) $(BUILD)/security/test_storage_long
$(SHIMMED): $(BUILD)/tests/fault/shim_use.o | $(BUILD)/fault/storage_shim.so
ready-e2e: $(BUILD)/fault/storage_shim.so
