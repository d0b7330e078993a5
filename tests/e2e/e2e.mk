# The test issuer: metadata, keys and tokens as Azure Attestation makes them, with faults on demand.
$(BUILD)/e2e/test-issuer: $(BUILD)/tests/e2e/issuer.o $(BUILD)/tests/e2e/issuer_keys.o $(BUILD)/tests/e2e/issuer_snp.o $(BUILD)/libbase.a
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lpthread
