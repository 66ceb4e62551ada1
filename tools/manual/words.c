/* Which words a shell may offer, and where. */
#include <string.h>

#include "llava_quantize/codec.h"
#include "llava_quantize/model.h"
#include "llava_quantize/plan.h"
#include "manual.h"

enum manual_kind manual_kind_of(const char *argument)
{
    static const struct {
        const char *argument;
        enum manual_kind kind;
    } known[] = {
        {"BITS|TYPE|RECIPE", MANUAL_SPEC},
        {"SPEC", MANUAL_SPEC},
        {"PATTERN=TYPE", MANUAL_RULE},
        {"COMMAND", MANUAL_COMMAND},
        {"QUESTION", MANUAL_NOTHING},
        {"N", MANUAL_NOTHING},
        {"T", MANUAL_NOTHING},
        {"SIZE", MANUAL_NOTHING},
        {"PERCENT", MANUAL_NOTHING},
    };
    if (argument == NULL) return MANUAL_NOTHING;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].argument, argument) == 0) return known[i].kind;
    bool words = strchr(argument, '|') != NULL && strpbrk(argument, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == NULL;
    return words ? MANUAL_WORDS : MANUAL_FILE;
}

void manual_put_commands(FILE *out)
{
    for (size_t i = 0; cli_command_at(i) != NULL; i++) fprintf(out, "%s%s", i == 0 ? "" : " ", cli_command_at(i)->name);
}

static bool is_recipe(const char *name)
{
    for (size_t i = 0; lq_recipe_at(i) != NULL; i++)
        if (strcmp(lq_recipe_at(i)->name, name) == 0) return true;
    return false;
}

static bool is_target(const struct lq_format *format)
{
    return format != NULL && (format->flags & LQ_FORMAT_TARGET) != 0;
}

void manual_put_types(FILE *out)
{
    const char *space = "";
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        if (!is_target(lq_format_get(type))) continue;
        fprintf(out, "%s%s", space, lq_format_name(type));
        space = " ";
    }
}

void manual_put_specs(FILE *out)
{
    for (size_t i = 0; lq_recipe_at(i) != NULL; i++) fprintf(out, "%s%s", i == 0 ? "" : " ", lq_recipe_at(i)->name);
    for (int type = 0; type < LQ_TYPE_COUNT; type++)
        if (is_target(lq_format_get(type)) && !is_recipe(lq_format_name(type)))
            fprintf(out, " %s", lq_format_name(type));
}

/* Whether a role before `role` begins with the same `length` letters. */
static bool seen_before(int role, size_t length)
{
    const char *name = lq_role_name((enum lq_role)role);
    for (int r = 0; r < role; r++) {
        const char *other = lq_role_name((enum lq_role)r);
        if (strncmp(other, name, length) == 0 && (other[length] == '.' || other[length] == '\0')) return true;
    }
    return false;
}

void manual_put_roles(FILE *out)
{
    const char *space = "";
    for (int role = 0; role < LQ_ROLE_PATCH_EMBEDDING; role++) { /* this one and those behind it are never quantised */
        const char *name = lq_role_name((enum lq_role)role);
        for (size_t length = strcspn(name, ".");; length += 1 + strcspn(name + length + 1, ".")) {
            if (!seen_before(role, length)) fprintf(out, "%s%.*s", space, (int)length, name);
            space = " ";
            if (name[length] == '\0') break;
        }
    }
}

void manual_put_choices(FILE *out, const char *argument)
{
    for (const char *c = argument; *c != '\0'; c++) putc(*c == '|' ? ' ' : *c, out);
}
