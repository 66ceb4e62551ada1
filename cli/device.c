#include "device.h"

#include <string.h>

#include "suggest.h"

/* docs/recipes.md says where the figures come from. */
static const struct preset {
    const char *name;
    uint64_t memory; /* bytes for a model: files, context, computing */
    const char *fast_on, *what;
} presets[] = {
    {"phone-8g", 4000000000, "cpu", "--fit 4G --only-fast-on cpu: a phone of 8 GB, of which an app may have half"},
    {"pi5-8g", 6500000000, "cpu", "--fit 6.5G --only-fast-on cpu: a Raspberry Pi 5 of 8 GB without a desktop"},
    {"laptop-16g", 10000000000, "cpu", "--fit 10G --only-fast-on cpu: a laptop of 16 GB beside its other programs"},
    {"mac-16g", 10500000000, "metal",
     "--fit 10.5G --only-fast-on metal: a Mac of 16 GB, of which its GPU may have two thirds"},
    {"jetson-8g", 6000000000, "cuda",
     "--fit 6G --only-fast-on cuda: a Jetson Orin Nano, 8 GB for CPU and GPU together"},
    {"cuda-8g", 7200000000, "cuda", "--fit 7.2G --only-fast-on cuda: a graphics card of 8 GB that draws a desktop too"},
};
enum { N_PRESETS = sizeof presets / sizeof *presets };

static int unknown(const char *name, const char *command)
{
    struct cli_suggestion s = cli_suggest(name);
    for (size_t i = 0; i < N_PRESETS; i++) cli_suggest_offer(&s, presets[i].name);
    if (s.best == NULL) return cli_wrong_use(command, "unknown device '%s'", name);
    return cli_wrong_use(command, "unknown device '%s' (did you mean '%s'?)", name, s.best);
}

int cli_device_apply(struct cli_target *target, const char *command)
{
    if (target->preset == NULL) return CLI_GO;
    for (size_t i = 0; i < N_PRESETS; i++) {
        if (strcmp(presets[i].name, target->preset) != 0) continue;
        if (!cli_target_is_set(target)) target->fit = presets[i].memory;
        if (target->types == NULL && target->device == NULL) target->device = presets[i].fast_on;
        return CLI_GO;
    }
    return unknown(target->preset, command);
}

void cli_device_details(FILE *out)
{
    fputs("\nDevices:\n", out);
    for (size_t i = 0; i < N_PRESETS; i++) cli_usage_row(out, presets[i].name, presets[i].what);
}
