# The test issuer: metadata, keys and tokens as Azure Attestation makes them, with faults on demand.
$(BUILD)/e2e/test-issuer: $(call objs,$(addprefix tests/e2e/,issuer.c issuer_answer.c issuer_keys.c issuer_snp.c issuer_tls.c)) $(BUILD)/libbase.a
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lpthread
