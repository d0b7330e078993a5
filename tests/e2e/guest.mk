# Guests: the demo and the end-to-end tests.  They link none of the product's libraries: what measures it must not share its faults.
$(BUILD)/libguest.a: $(call objs,$(addprefix tests/e2e/,proof.c guest.c evidence.c harness.c invariants.c relay.c vtpm.c boot.c \
                         clients.c client_sidecar.c client_attestskr.c client_openhcl.c))
GUEST_LIBS := $(shell pkg-config --libs openssl jansson tss2-esys tss2-mu tss2-tctildr 2>/dev/null)
E2E        := $(patsubst tests/e2e/%.c,$(BUILD)/e2e/%,$(sort $(wildcard tests/e2e/test_*.c)))
E2E_SH     := $(sort $(wildcard tests/e2e/test-*.sh))

$(BUILD)/e2e/demo $(BUILD)/e2e/demo_boot $(E2E): $(BUILD)/e2e/%: $(BUILD)/tests/e2e/%.o $(BUILD)/libguest.a
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GUEST_LIBS) $(if $(findstring test_,$@),-lcmocka)

run-demo: all $(BUILD)/e2e/test-issuer $(BUILD)/e2e/demo
	$(Q)BUILD=$(BUILD) $(BUILD)/e2e/demo

# What the end-to-end tests need to be there; other directories add their shared objects to it.
ready-e2e: all $(BUILD)/e2e/test-issuer $(E2E)
E2E_LONG := $(addprefix $(BUILD)/e2e/,$(addprefix test_,hsm softhsm calls history release reload rotation floods))
run-e2e: ready-e2e
	$(Q)BUILD=$(BUILD) TEST_TIMEOUT=600 LABEL=e2e tests/run-unit $(call longest_first,$(E2E_LONG),$(E2E)) $(E2E_SH)

.PHONY: run-demo ready-e2e run-e2e
