# Faults at the standard's own seams: a scripted PKCS#11 module, and a malloc that fails.  Shared objects of their own: the product knows neither.
FAULT_SO := $(BUILD)/fault/fake_p11.so $(BUILD)/fault/alloc_fail.so

$(FAULT_SO): $(BUILD)/fault/%.so: tests/fault/%.c $(wildcard tests/fault/*.h)
	@echo "  SO   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -I% -fPIE,$(CPPFLAGS) $(filter-out -fsanitize=%,$(CFLAGS))) -I. -fPIC -fvisibility=hidden -shared -Wl,-z,now -o $@ $< -ldl

$(addprefix $(BUILD)/,e2e/test_hsm e2e/test_softhsm e2e/test_alloc security/test_hsm_long security/test_alloc_long): | $(FAULT_SO)
ready-e2e: $(FAULT_SO)

# On the keystore itself, unlike its neighbours: linked like a unit test.
$(BUILD)/security/test_wrap_long: $(LAYERS)
$(BUILD)/security/test_wrap_long: GUEST_LIBS := $(LDLIBS)
