/* Manual pages in the man macros. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "manual.h"

/* `n` bytes of text, with what troff would read otherwise escaped. */
static void put_bytes(FILE *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i == 0 && (text[0] == '.' || text[0] == '\'')) fputs("\\&", out);
        if (text[i] == '\\') fputs("\\e", out);
        else if (text[i] == '-') fputs("\\-", out);
        else putc(text[i], out);
    }
}

static void put_text(FILE *out, const char *text)
{
    put_bytes(out, text, strlen(text));
}

static void put_line(FILE *out, const char *text, size_t n)
{
    put_bytes(out, text, n);
    putc('\n', out);
}

static void put_bold(FILE *out, const char *text)
{
    fputs("\\fB", out);
    put_text(out, text);
    fputs("\\fR", out);
}

static void put_header(FILE *out, const char *name, const char *date)
{
    fputs(".\\\" Made from the program's own tables.\n.TH ", out);
    for (const char *c = name; *c != '\0'; c++) putc(toupper((unsigned char)*c), out);
    fprintf(out, " 1 %s \"llava\\-quantize %s\" \"User Commands\"\n.SH NAME\n", date, lq_version());
    put_text(out, name);
    fputs(" \\- ", out);
}

/* One paragraph under a term that the caller has begun with ".TP". */
static void put_item_text(FILE *out, const char *text)
{
    putc('\n', out);
    put_text(out, text);
    putc('\n', out);
}

static void put_synopsis(FILE *out, const struct cli_command *command)
{
    fputs(".SH SYNOPSIS\n", out);
    put_bold(out, "llava-quantize ");
    put_bold(out, command->name);
    for (const struct cli_positional *p = command->positionals; p->name != NULL; p++) {
        fputs(p->optional ? " [\\fI" : " \\fI", out);
        put_text(out, p->name);
        fputs(p->optional ? "\\fR]" : "\\fR", out);
    }
    fputs(" [\\fIOPTION\\fR]...\n", out);
}

static void put_positionals(FILE *out, const struct cli_command *command)
{
    for (const struct cli_positional *p = command->positionals; p->name != NULL; p++) {
        fputs(".TP\n\\fI", out);
        put_text(out, p->name);
        fputs("\\fR", out);
        put_item_text(out, p->help);
    }
}

static void put_option(FILE *out, const struct cli_option *o)
{
    fputs(".TP\n", out);
    if (o->letter != 0) fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", out);
    put_text(out, o->name);
    fputs("\\fR", out);
    if (o->argument != NULL) {
        fputs(" \\fI", out);
        put_text(out, o->argument);
        fputs("\\fR", out);
    }
    put_item_text(out, o->help);
}

static void put_examples(FILE *out, const char *example)
{
    fputs(".SH EXAMPLES\n.nf\n", out);
    for (const char *line = example; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        put_line(out, line, n);
        line += n + (line[n] == '\n');
    }
    fputs(".fi\n", out);
}

/* "  NAME    what it is": a new item; without a name the sentence before it goes on. */
static void put_row(FILE *out, const char *line, size_t n)
{
    size_t start = strspn(line, " ");
    if (start == 2) {
        size_t end = start;
        while (end < n && strncmp(line + end, "  ", 2) != 0) end++;
        fputs(".TP\n\\fB", out);
        put_bytes(out, line + start, end - start);
        fputs("\\fR\n", out);
        start = end + strspn(line + end, " ");
    }
    if (start < n) put_line(out, line + start, n - start);
}

/* What a command's help says behind its options: headings, rows and plain lines, read back from the help text. */
static void put_details(FILE *out, const struct cli_command *command)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = command->details == NULL ? NULL : open_memstream(&text, &size);
    if (memory == NULL) return;
    command->details(memory);
    fclose(memory);
    fputs(".SH DETAILS\n", out);
    for (const char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        if (n > 0 && line[0] == ' ') put_row(out, line, n);
        else if (n > 0 && line[n - 1] == ':') fputs(".SS ", out), put_line(out, line, n - 1);
        else if (n > 0) fputs(".PP\n", out), put_line(out, line, n);
        line += n + (line[n] == '\n');
    }
    free(text);
}

void manual_put_page(FILE *out, const struct cli_command *command, const char *date)
{
    char name[80];
    snprintf(name, sizeof name, "llava-quantize-%s", command->name);
    put_header(out, name, date);
    put_text(out, command->summary);
    putc('\n', out);
    put_synopsis(out, command);
    if (command->positionals[0].name != NULL) fputs(".SH ARGUMENTS\n", out);
    put_positionals(out, command);
    fputs(".SH OPTIONS\n", out);
    for (const struct cli_option *o = command->options; o->name != NULL; o++) put_option(out, o);
    put_details(out, command);
    put_examples(out, command->example);
    fputs(".SH SEE ALSO\n.BR llava\\-quantize (1),\nwhich lists all commands and explains the exit status\n", out);
}

static void put_exit_status(FILE *out)
{
    static const char *const meaning[] = {
        "done",
        "failed: the input cannot be read or is refused, the output cannot be written, or the run was interrupted",
        "wrong use: an unknown option, a missing argument, a value that makes no sense",
        "a check found a difference",
    };
    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; i < sizeof meaning / sizeof *meaning; i++) {
        fprintf(out, ".TP\n%zu", i);
        put_item_text(out, meaning[i]);
    }
}

void manual_put_main_page(FILE *out, const char *date)
{
    put_header(out, "llava-quantize", date);
    put_text(out, "makes a smaller GGUF pair of a LLaVA model, and looks after pairs");
    fputs("\n.SH SYNOPSIS\n"
          "\\fBllava\\-quantize\\fR \\fIINPUT\\fR \\fIOUTPUT\\fR [\\fIBITS|TYPE|RECIPE\\fR] [\\fIOPTION\\fR]...\n"
          ".br\n\\fBllava\\-quantize\\fR \\fICOMMAND\\fR ...\n"
          ".SH DESCRIPTION\n"
          "A full\\-precision vision\\-language model goes in, a smaller pair of GGUF files that llama.cpp runs comes "
          "out.\nWithout a command word the program quantizes.\n"
          "Results go to standard output, progress and messages to standard error.\n"
          ".SH COMMANDS\n",
          out);
    for (size_t i = 0; cli_command_at(i) != NULL; i++) {
        const struct cli_command *command = cli_command_at(i);
        fprintf(out, ".TP\n.BR llava\\-quantize\\-%s (1)", command->name);
        put_item_text(out, command->summary);
    }
    put_exit_status(out);
    fputs(".SH ENVIRONMENT\n.TP\n\\fBLQ_CPU\\fR", out);
    put_item_text(
        out, "which kernels to use where the CPU has them: scalar, avx2, avx512 or neon; each gives the same bytes");
}
