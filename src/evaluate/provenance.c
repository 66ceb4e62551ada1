#include "evaluate/provenance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

/* The value of the first line "KEY : VALUE" of a file of /proc; free(). NULL where there is none. */
static char *value_in(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    char line[512], *value = NULL;
    size_t n = strlen(key);
    while (f != NULL && value == NULL && fgets(line, sizeof line, f) != NULL) {
        size_t behind = n + strspn(line + (strncmp(line, key, n) == 0 ? n : 0), " \t");
        if (strncmp(line, key, n) != 0 || line[behind] != ':') continue;
        char *start = line + behind + 1;
        start += strspn(start, " \t");
        start[strcspn(start, "\n")] = '\0';
        value = strdup(start);
    }
    if (f != NULL) fclose(f);
    return value;
}

static char *processor_name(void)
{
    struct utsname machine;
    char *name = value_in("/proc/cpuinfo", "model name");
    if (name != NULL) return name;
    return strdup(uname(&machine) == 0 ? machine.machine : "unknown");
}

/* getrusage counts what the process was before it became this program; /proc does not. */
uint64_t lq_peak_memory(void)
{
    char *peak = value_in("/proc/self/status", "VmHWM");
    uint64_t kilobytes = peak == NULL ? 0 : strtoull(peak, NULL, 10);
    free(peak);
    if (kilobytes > 0) return kilobytes * 1024;
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

static bool copy_text(char **out, const char *text)
{
    if (text == NULL) return true;
    *out = strdup(text);
    return *out != NULL;
}

enum lq_status lq_provenance_fill(struct lq_provenance *out, const struct lq_evaluate_options *options,
                                  struct lq_error *err)
{
    const struct lq_dataset *data = options->data;
    bool ok = copy_text(&out->command, options->command) && copy_text(&out->text, options->text) &&
              copy_text(&out->version, lq_version()) && copy_text(&out->runtime, "llama.cpp " LQ_LLAMA_VERSION) &&
              copy_text(&out->data, data == NULL ? NULL : data->path) &&
              copy_text(&out->data_hash, data == NULL ? NULL : data->hash);
    out->cpu = processor_name();
    out->seed = options->seed;
    out->limit = options->limit;
    out->stock = options->stock;
    return ok && out->cpu != NULL ? LQ_OK : lq_error_set(err, LQ_ERR_MEMORY, "no memory for the provenance");
}
