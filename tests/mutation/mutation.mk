# make mutation [FILES=policy/claims.c] [SAMPLE=10]: each check of policy/, of the wrapping and of the keys of base/ changed, one at a time; the unit tests must notice.
# The layers below the broker are one shared object here, so that a changed file is laid over it (LD_PRELOAD) without linking anything anew.
MUTATION_LIB   := $(BUILD)/mutation/liblayers.so
MUTATION_TESTS := $(addprefix $(BUILD)/mutation/test_,\
	token jws jwks pubkey curve claims pointer rules scalar decide explain nomem kwp scheme wrap keystore public_evp)

$(BUILD)/mutation/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=c11 -O1 -w -fPIC -MMD -MP -c -o $@ $<

$(MUTATION_LIB): $(patsubst %.c,$(BUILD)/mutation/%.o,$(BASE) $(POLICY) $(KEYSTORE))
	@echo "  LD   $@"
	$(Q)$(CC) -shared -Wl,-z,now -Wl,-soname,liblayers.so -o $@ $^ $(LDLIBS)

$(foreach t,$(UNIT_SRC),$(eval $(BUILD)/mutation/$(basename $(notdir $(t))): $(BUILD)/$(t:.c=.o)))
$(MUTATION_TESTS): $(MUTATION_LIB)
	@echo "  LD   $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -Wl,-rpath,'$$ORIGIN' -o $@ $(filter %.o,$^) $(MUTATION_LIB) $(LDLIBS) -lcmocka

$(BUILD)/mutation/mutate: $(BUILD)/tests/mutation/mutate.o
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

FILES  ?= $(POLICY) $(addprefix keystore/,wrap.c kwp.c scheme.c scheme_rsa_aes.c) $(addprefix broker/base/,curve.c evp.c thumbprint.c)
SAMPLE ?= 1
mutation: deps-test
	$(Q)$(MAKE) --no-print-directory run-mutation
run-mutation: $(BUILD)/mutation/mutate $(MUTATION_TESTS)
	$(Q)BUILD=$(BUILD) SAMPLE=$(SAMPLE) CC='$(CC)' tests/mutation/run $(FILES)

.PHONY: mutation run-mutation
