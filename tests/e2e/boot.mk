# The boot with real parts: a TPM in software, a LUKS2 image, keybroker-guest between them.
$(BUILD)/unit/test_guest_tpm: $(BUILD)/libguest.a

demo-boot: deps-test
	$(Q)$(MAKE) --no-print-directory run-demo-boot
run-demo-boot: all $(BUILD)/e2e/test-issuer $(BUILD)/e2e/demo_boot
	$(Q)BUILD=$(BUILD) $(BUILD)/e2e/demo_boot

.PHONY: demo-boot run-demo-boot
