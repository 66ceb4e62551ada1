/* Help texts, written from the same tables that the parser reads. */
#include <string.h>

#include "command.h"

enum { TEXT_COLUMN = 26, LAST_COLUMN = 100 };

/* Prints words from column `column` on, breaking lines before LAST_COLUMN. */
static void put_wrapped(FILE *out, const char *text)
{
    size_t column = TEXT_COLUMN;
    for (const char *word = text; *word != '\0';) {
        size_t n = strcspn(word, " ");
        bool first = word == text;
        if (!first && column + 1 + n > LAST_COLUMN) {
            fprintf(out, "\n%*s", TEXT_COLUMN, "");
            column = TEXT_COLUMN;
        } else if (!first) {
            putc(' ', out);
            column++;
        }
        fwrite(word, 1, n, out);
        column += n;
        word += n;
        word += strspn(word, " ");
    }
    putc('\n', out);
}

void cli_usage_row(FILE *out, const char *left, const char *text)
{
    int used = fprintf(out, "  %s", left);
    if (used > TEXT_COLUMN - 2) {
        putc('\n', out);
        used = 0;
    }
    fprintf(out, "%*s", TEXT_COLUMN - used, "");
    put_wrapped(out, text);
}

static void put_option(FILE *out, const struct cli_option *o)
{
    char left[80];
    char letter[5] = "    ";
    if (o->letter != 0) snprintf(letter, sizeof letter, "-%c, ", o->letter);
    bool value = o->argument != NULL;
    snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, value ? " " : "", value ? o->argument : "");
    cli_usage_row(out, left, o->help);
}

static void put_synopsis(FILE *out, const struct cli_command *command)
{
    fprintf(out, "Usage: llava-quantize %s", command->name);
    for (const struct cli_positional *p = command->positionals; p->name != NULL; p++)
        fprintf(out, p->optional ? " [%s]" : " %s", p->name);
    fprintf(out, "%s\n\n", command->options->name == NULL ? "" : " [OPTION]...");
}

static void put_examples(FILE *out, const char *example)
{
    fputs("\nExample:\n", out);
    for (const char *line = example; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        fprintf(out, "  %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

void cli_usage(FILE *out, const struct cli_command *command)
{
    fprintf(out, "llava-quantize %s: %s\n\n", command->name, command->summary);
    put_synopsis(out, command);
    for (const struct cli_positional *p = command->positionals; p->name != NULL; p++)
        cli_usage_row(out, p->name, p->help);
    if (command->options->name != NULL) fputs("\nOptions:\n", out);
    for (const struct cli_option *o = command->options; o->name != NULL; o++) put_option(out, o);
    if (command->details != NULL) command->details(out);
    put_examples(out, command->example);
}

void cli_usage_all(FILE *out)
{
    fputs("llava-quantize: a full-precision LLaVA goes in, a smaller GGUF pair that llama.cpp runs comes out\n\n"
          "Usage: llava-quantize INPUT OUTPUT [BITS|TYPE|RECIPE] [OPTION]...\n"
          "       llava-quantize COMMAND ...\n\n"
          "Commands:\n",
          out);
    for (size_t i = 0; cli_command_at(i) != NULL; i++)
        cli_usage_row(out, cli_command_at(i)->name, cli_command_at(i)->summary);
    fputs("\nWithout a command word it quantizes. 'llava-quantize COMMAND --help' explains a command.\n", out);
    put_examples(out, "llava-quantize demo/model out\n"
                      "llava-quantize ask out demo/exam/00000.png \"What is at the center?\"");
}
