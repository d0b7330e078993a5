# Faults at the standard's own seams: a scripted PKCS#11 module, a malloc that fails, and every other call that can.  Shared objects of their own: the product knows neither.
# Neither a sanitizer's runtime nor the counters of `make coverage`: those of two objects in one process would share a file.
NOT_IN_SO := -fsanitize=% -fprofile-% -fcoverage-% -mllvm -runtime-counter-relocation -fPIE
FAULT_SO := $(BUILD)/fault/fake_p11.so $(BUILD)/fault/alloc_fail.so $(BUILD)/fault/call_fail.so

$(FAULT_SO): $(BUILD)/fault/%.so: tests/fault/%.c $(wildcard tests/fault/*.h)
	@echo "  SO   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -I% $(NOT_IN_SO),$(CPPFLAGS) $(CFLAGS)) -I. -fPIC -fvisibility=hidden -shared -Wl,-z,now -o $@ $< -ldl

$(addprefix $(BUILD)/,e2e/test_hsm e2e/test_softhsm e2e/test_alloc e2e/test_calls security/test_hsm_long security/test_alloc_long security/test_calls_long security/test_calls_processes_long security/test_calls_starts_long): | $(FAULT_SO)
ready-e2e: $(FAULT_SO)

# On the keystore itself, unlike its neighbours: linked like a unit test.
$(BUILD)/security/test_wrap_long: $(LAYERS)
$(BUILD)/security/test_wrap_long: GUEST_LIBS := $(LDLIBS)
