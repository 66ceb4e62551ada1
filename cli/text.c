#include "text.h"

#include <ctype.h>
#include <string.h>

struct cli_text cli_size(uint64_t bytes)
{
    static const struct {
        uint64_t from, unit;
        int digits;
        const char *name;
    } units[] = {
        {UINT64_C(1) << 30, UINT64_C(1) << 30, 2, "GiB"},
        {UINT64_C(1) << 20, UINT64_C(1) << 20, 2, "MiB"},
        {UINT64_C(1) << 10, UINT64_C(1) << 10, 1, "KiB"},
        {0, 1, 0, "B"},
    };
    size_t i = 0;
    while (bytes < units[i].from) i++;
    struct cli_text text;
    snprintf(text.s, sizeof text.s, "%.*f %s", units[i].digits, (double)bytes / (double)units[i].unit, units[i].name);
    return text;
}

struct cli_text cli_shape(uint32_t n_dims, const uint64_t ne[4])
{
    struct cli_text text;
    int used = snprintf(text.s, sizeof text.s, "%llu", (unsigned long long)ne[0]);
    for (uint32_t i = 1; i < n_dims && i < 4 && used < (int)sizeof text.s; i++)
        used += snprintf(text.s + used, sizeof text.s - (size_t)used, " x %llu", (unsigned long long)ne[i]);
    return text;
}

struct cli_text cli_percent(double ratio)
{
    struct cli_text text = {"-"};
    if (ratio > 0) snprintf(text.s, sizeof text.s, "%.3f %%", ratio * 100);
    return text;
}

struct cli_text cli_type_names(uint64_t types)
{
    struct cli_text text = {""};
    size_t used = 0;
    for (int t = 0; t < LQ_TYPE_COUNT && used + 12 < sizeof text.s; t++)
        if (types >> t & 1)
            used += (size_t)snprintf(text.s + used, sizeof text.s - used, used == 0 ? "%s" : "+%s", lq_format_name(t));
    return text;
}

void cli_put_shell_word(FILE *out, const char *word)
{
    size_t plain = 0;
    while (isalnum((unsigned char)word[plain]) || (word[plain] != '\0' && strchr("_-./+,:@%=", word[plain]) != NULL))
        plain++;
    if (word[plain] == '\0' && plain > 0) {
        fputs(word, out);
        return;
    }
    putc('\'', out);
    for (const char *p = word; *p != '\0'; p++) {
        if (*p == '\'') fputs("'\\''", out);
        else putc(*p, out);
    }
    putc('\'', out);
}
