/* llava-quantize-manual FOLDER SCRIPTS DATE: writes manual pages and completions into FOLDER, laid out like `share`.
 *
 * SCRIPTS holds completion.bash and completion.zsh, the parts of the completions that are the same whatever the tables
 * say; DATE, YYYY-MM-DD, is that of the program's version.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "manual.h"

struct run {
    const char *folder, *scripts, *date;
};

/* Opens FOLDER/NAME for writing and makes the folders above it. */
static FILE *create(const struct run *run, const char *name)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", run->folder, name);
    if (n < 0 || (size_t)n >= sizeof path) return NULL;
    for (char *slash = strchr(path + strlen(run->folder), '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) return NULL;
        *slash = '/';
    }
    return fopen(path, "w");
}

/* Closes; false when something was lost on the way. */
static bool finish(FILE *out)
{
    bool good = ferror(out) == 0;
    return fclose(out) == 0 && good;
}

static bool append_script(const struct run *run, const char *script, FILE *out)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", run->scripts, script);
    FILE *in = fopen(path, "r");
    if (in == NULL) return false;
    for (int c; (c = getc(in)) != EOF;) putc(c, out);
    return finish(in);
}

struct completion {
    const char *name; /* below `share` */
    void (*put)(FILE *out);
    const char *script;
};

static bool write_completion(const struct run *run, const struct completion *c)
{
    FILE *out = create(run, c->name);
    if (out == NULL) return false;
    c->put(out);
    bool good = append_script(run, c->script, out);
    return finish(out) && good;
}

static bool write_pages(const struct run *run)
{
    FILE *out = create(run, "man/man1/llava-quantize.1");
    if (out == NULL) return false;
    manual_put_main_page(out, run->date);
    bool good = finish(out);
    for (size_t i = 0; cli_command_at(i) != NULL && good; i++) {
        char name[128];
        snprintf(name, sizeof name, "man/man1/llava-quantize-%s.1", cli_command_at(i)->name);
        out = create(run, name);
        if (out == NULL) return false;
        manual_put_page(out, cli_command_at(i), run->date);
        good = finish(out);
    }
    return good;
}

static const struct completion bash = {"bash-completion/completions/llava-quantize", manual_put_bash,
                                       "completion.bash"};
static const struct completion zsh = {"zsh/site-functions/_llava-quantize", manual_put_zsh, "completion.zsh"};

int main(int argc, char **argv)
{
    if (argc != 4) return fputs("usage: llava-quantize-manual FOLDER SCRIPTS DATE\n", stderr), EXIT_FAILURE;
    struct run run = {.folder = argv[1], .scripts = argv[2], .date = argv[3]};
    bool good = write_pages(&run) && write_completion(&run, &bash) && write_completion(&run, &zsh);
    if (!good) fprintf(stderr, "llava-quantize-manual: %s: cannot be written: %s\n", run.folder, strerror(errno));
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
