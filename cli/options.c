/* The parser of command lines: walks argv once, guided by the command's tables. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "suggest.h"

struct parse {
    const struct cli_command *command;
    int argc, next;
    char **argv;
    char *args;
    size_t n_positionals;
    bool only_positionals; /* after "--" */
};

static void *target_of(const struct parse *p, size_t offset)
{
    return p->args + offset;
}

static int wrong_value(const struct parse *p, const struct cli_option *o, const char *value, const char *expected)
{
    return cli_wrong_use(p->command->name, "--%s: '%s' is not %s", o->name, value, expected);
}

static int set_number(const struct parse *p, const struct cli_option *o, const char *value)
{
    char expected[80];
    snprintf(expected, sizeof expected, "a whole number from %u to %u", o->least, o->most);
    if (*value == '\0' || strspn(value, "0123456789") != strlen(value)) return wrong_value(p, o, value, expected);
    errno = 0;
    unsigned long long n = strtoull(value, NULL, 10);
    if (errno != 0 || n < o->least || n > o->most) return wrong_value(p, o, value, expected);
    *(uint32_t *)target_of(p, o->target) = (uint32_t)n;
    return CLI_GO;
}

static int set_size(const struct parse *p, const struct cli_option *o, const char *value)
{
    size_t digits = strspn(value, "0123456789"), places = 0;
    const char *fraction = value + digits;
    if (*fraction == '.') places = strspn(++fraction, "0123456789");
    const char *unit = fraction + places;
    uint64_t scale = *unit == 'M' || *unit == 'm' ? 1000000 : *unit == 'G' || *unit == 'g' ? 1000000000 : 0;
    bool number = digits > 0 && digits <= 9 && (unit == value + digits || places > 0);
    uint64_t size = number ? strtoull(value, NULL, 10) * scale : 0;
    for (; number && fraction < unit; fraction++) size += (uint64_t)(*fraction - '0') * (scale /= 10);
    if (size == 0 || unit[1] != '\0')
        return wrong_value(p, o, value, "a size such as 500M or 2G (millions or thousand millions of bytes)");
    *(uint64_t *)target_of(p, o->target) = size;
    return CLI_GO;
}

static int set_real(const struct parse *p, const struct cli_option *o, const char *value)
{
    char expected[80];
    snprintf(expected, sizeof expected, "a number from %u to %u", o->least, o->most);
    char *end = NULL;
    double x = strtod(value, &end);
    bool plain = *value != '\0' && strspn(value, "0123456789.") == strlen(value) && *end == '\0';
    if (!plain || x < o->least || x > o->most) return wrong_value(p, o, value, expected);
    *(double *)target_of(p, o->target) = x;
    return CLI_GO;
}

static int set_choice(const struct parse *p, const struct cli_option *o, const char *value)
{
    size_t length = strlen(value);
    int index = 0;
    for (const char *word = o->argument; word != NULL; index++) {
        size_t n = strcspn(word, "|");
        if (n == length && strncmp(word, value, n) == 0) {
            *(int *)target_of(p, o->target) = index;
            return CLI_GO;
        }
        word = word[n] == '|' ? word + n + 1 : NULL;
    }
    return wrong_value(p, o, value, o->argument);
}

static int add_to_list(const struct parse *p, size_t target, const char *value)
{
    struct cli_list *list = target_of(p, target);
    if (list->items == NULL) list->items = calloc((size_t)p->argc, sizeof *list->items);
    if (list->items == NULL) return cli_error("out of memory"), CLI_FAILED;
    list->items[list->n++] = value;
    return CLI_GO;
}

static int set_option(const struct parse *p, const struct cli_option *o, const char *value)
{
    if (value != NULL && *value == '\0')
        return cli_wrong_use(p->command->name, "--%s: %s is empty", o->name, o->argument);
    switch (o->kind) {
    case CLI_FLAG: *(bool *)target_of(p, o->target) = true; return CLI_GO;
    case CLI_TEXT: *(const char **)target_of(p, o->target) = value; return CLI_GO;
    case CLI_LIST: return add_to_list(p, o->target, value);
    case CLI_NUMBER: return set_number(p, o, value);
    case CLI_SIZE: return set_size(p, o, value);
    case CLI_REAL: return set_real(p, o, value);
    case CLI_CHOICE: return set_choice(p, o, value);
    case CLI_HELP: cli_usage(stdout, p->command); return CLI_DONE;
    }
    return CLI_GO;
}

static int unknown_option(const struct parse *p, const char *word, size_t length)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)length, word);
    struct cli_suggestion s = cli_suggest(name);
    for (const struct cli_option *o = p->command->options; o->name != NULL; o++) cli_suggest_offer(&s, o->name);
    if (s.best == NULL) return cli_wrong_use(p->command->name, "unknown option '--%s'", name);
    return cli_wrong_use(p->command->name, "unknown option '--%s' (did you mean '--%s'?)", name, s.best);
}

/* The value behind "=" or, where the option takes one, the next word. */
static int take_value(struct parse *p, const struct cli_option *o, const char *attached, const char **value)
{
    *value = attached;
    if (o->argument == NULL && attached != NULL) return cli_wrong_use(p->command->name, "--%s takes no value", o->name);
    if (o->argument == NULL || attached != NULL) return CLI_GO;
    if (p->next >= p->argc) return cli_wrong_use(p->command->name, "--%s needs a value: %s", o->name, o->argument);
    *value = p->argv[p->next++];
    return CLI_GO;
}

static int parse_long(struct parse *p, const char *word)
{
    size_t length = strcspn(word, "=");
    const char *attached = word[length] == '=' ? word + length + 1 : NULL;
    for (const struct cli_option *o = p->command->options; o->name != NULL; o++) {
        if (strlen(o->name) != length || strncmp(o->name, word, length) != 0) continue;
        const char *value;
        int status = take_value(p, o, attached, &value);
        return status == CLI_GO ? set_option(p, o, value) : status;
    }
    return unknown_option(p, word, length);
}

static const struct cli_option *find_letter(const struct parse *p, char letter)
{
    for (const struct cli_option *o = p->command->options; o->name != NULL; o++)
        if (o->letter == letter) return o;
    return NULL;
}

/* "-q", "-qf", "-t4" or "-t 4". */
static int parse_letters(struct parse *p, const char *letters)
{
    int status = CLI_GO;
    for (const char *c = letters; *c != '\0' && status == CLI_GO; c++) {
        const struct cli_option *o = find_letter(p, *c);
        if (o == NULL) return cli_wrong_use(p->command->name, "unknown option '-%c'", *c);
        const char *value = NULL;
        bool last = o->argument != NULL;
        if (last) status = take_value(p, o, c[1] == '\0' ? NULL : c + 1, &value);
        if (status == CLI_GO) status = set_option(p, o, value);
        if (last) break;
    }
    return status;
}

bool cli_repeats(const struct cli_positional *positional)
{
    size_t n = strlen(positional->name);
    return n > 3 && strcmp(positional->name + n - 3, "...") == 0;
}

static int parse_positional(struct parse *p, const char *word)
{
    const struct cli_positional *slot = &p->command->positionals[p->n_positionals];
    if (slot->name == NULL && p->n_positionals > 0 && cli_repeats(slot - 1)) slot--;
    if (slot->name == NULL) return cli_wrong_use(p->command->name, "'%s' is one argument too many", word);
    if (*word == '\0') return cli_wrong_use(p->command->name, "%s is empty", slot->name);
    p->n_positionals = (size_t)(slot + 1 - p->command->positionals);
    if (cli_repeats(slot)) return add_to_list(p, slot->target, word);
    *(const char **)target_of(p, slot->target) = word;
    return CLI_GO;
}

static int parse_word(struct parse *p, const char *word)
{
    if (p->only_positionals || word[0] != '-' || word[1] == '\0') return parse_positional(p, word);
    if (word[1] != '-') return parse_letters(p, word + 1);
    if (word[2] != '\0') return parse_long(p, word + 2);
    p->only_positionals = true;
    return CLI_GO;
}

int cli_parse(const struct cli_command *command, int argc, char **argv, void *args)
{
    struct parse p = {.command = command, .argc = argc, .next = 1, .argv = argv, .args = args};
    int status = CLI_GO;
    while (p.next < argc && status == CLI_GO) status = parse_word(&p, argv[p.next++]);
    if (status != CLI_GO) return status;
    const struct cli_positional *missing = &command->positionals[p.n_positionals];
    if (missing->name == NULL || missing->optional) return CLI_GO;
    return cli_wrong_use(command->name, "%s is missing", missing->name);
}
