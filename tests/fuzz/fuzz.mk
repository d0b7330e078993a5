# The fuzz targets once more, with the compiler of the product and without sanitizers: what an input costs (tests/fuzz/replay.c).
FUZZ_ALL := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
REPLAY   := $(addprefix $(BUILD)/replay/,$(FUZZ_ALL))

$(REPLAY): $(BUILD)/replay/%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(LAYERS)
	@echo "  LD   $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

replay-targets: $(REPLAY)
.PHONY: replay-targets
