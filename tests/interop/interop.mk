# make interop: the unmodified npm client against a running instance.  tests/interop/node finds or brings Node.js 20.
$(BUILD)/interop/stand: $(call objs,tests/interop/stand.c) $(BUILD)/libguest.a
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GUEST_LIBS)

interop: deps
	$(Q)$(MAKE) --no-print-directory run-interop
run-interop: all $(BUILD)/e2e/test-issuer $(BUILD)/interop/stand tests/interop/node_modules/.installed
	$(Q)BUILD=$(abspath $(BUILD)) tests/interop/node --test tests/interop/*.test.mjs

# `npm ci` takes exactly the versions and hashes of package-lock.json.
tests/interop/node_modules/.installed: tests/interop/package-lock.json
	@echo "  NPM  tests/interop"
	$(Q)tests/interop/node --version >/dev/null && cd tests/interop && npm ci --no-audit --no-fund --loglevel=error >/dev/null && touch node_modules/.installed

.PHONY: interop run-interop
