/* zsh completion: one function for each command, which hands its table to _arguments. */
#include <string.h>

#include "manual.h"

/* Text within single quotes in which _arguments gives brackets and colons a meaning. */
static void put_quoted(FILE *out, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (strchr("[]:\\", *c) != NULL) putc('\\', out);
        fputs(*c == '\'' ? "'\\'" : "", out);
        putc(*c, out);
    }
}

/* ":NAME:ACTION". */
static void put_action(FILE *out, const char *argument)
{
    static const char *const actions[] = {
        [MANUAL_FILE] = "_files",
        [MANUAL_WORDS] = "(",
        [MANUAL_SPEC] = "($_llava_quantize_specs)",
        [MANUAL_RULE] = "_llava_quantize_rule",
        [MANUAL_COMMAND] = "($_llava_quantize_commands)",
        [MANUAL_NOTHING] = " ",
    };
    enum manual_kind kind = manual_kind_of(argument);
    putc(':', out);
    put_quoted(out, argument);
    fprintf(out, ":%s", actions[kind]);
    if (kind != MANUAL_WORDS) return;
    manual_put_choices(out, argument);
    putc(')', out);
}

static void put_option(FILE *out, const struct cli_option *o)
{
    const char *value = o->argument != NULL ? "=" : "";
    fputs("        ", out);
    if (o->kind == CLI_LIST) fprintf(out, "'*--%s%s", o->name, value);
    else if (o->letter != 0)
        fprintf(out, "'(-%c --%s)'{-%c%s,--%s%s}'", o->letter, o->name, o->letter, o->argument != NULL ? "+" : "",
                o->name, value);
    else fprintf(out, "'--%s%s", o->name, value);
    putc('[', out);
    put_quoted(out, o->help);
    putc(']', out);
    if (o->argument != NULL) put_action(out, o->argument);
    fputs("'\n", out);
}

static void put_command(FILE *out, const struct cli_command *command)
{
    fprintf(out, "_llava_quantize_%s() {\n    local -a table=(\n", command->name);
    for (const struct cli_option *o = command->options; o->name != NULL; o++) put_option(out, o);
    for (const struct cli_positional *p = command->positionals; p->name != NULL; p++) {
        fprintf(out, "        '%s", cli_repeats(p) ? "*" : p->optional ? ":" : "");
        put_action(out, p->name);
        fputs("'\n", out);
    }
    fputs("    )\n    _arguments -s -S $table\n}\n\n", out);
}

static void put_array(FILE *out, const char *name, void (*put)(FILE *))
{
    fprintf(out, "typeset -ga _llava_quantize_%s=(", name);
    put(out);
    fputs(")\n", out);
}

void manual_put_zsh(FILE *out)
{
    fputs("#compdef llava-quantize\n# Made from the program's own tables.\n\n", out);
    put_array(out, "commands", manual_put_commands);
    put_array(out, "specs", manual_put_specs);
    put_array(out, "types", manual_put_types);
    put_array(out, "roles", manual_put_roles);
    fputs("typeset -ga _llava_quantize_described=(\n", out);
    for (size_t i = 0; cli_command_at(i) != NULL; i++) {
        fprintf(out, "    '%s:", cli_command_at(i)->name);
        put_quoted(out, cli_command_at(i)->summary);
        fputs("'\n", out);
    }
    fputs(")\n\n", out);
    for (size_t i = 0; cli_command_at(i) != NULL; i++) put_command(out, cli_command_at(i));
}
