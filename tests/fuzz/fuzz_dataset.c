/* Any bytes as a data set: refused with a message, or records that keep every promise of the header. */
#include "anonymous.h"
#include "llava_quantize/dataset.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_turn(const struct lq_turn *turn)
{
    if (turn->question[0] == '\0' || strstr(turn->question, "<image>") != NULL) abort();
    if (turn->n_answers == 0 || turn->likeliest >= turn->n_answers) abort();
    for (size_t i = 0; i < turn->n_answers; i++)
        if (turn->answers[i][0] == '\0') abort();
}

static void check(const struct lq_dataset *d, size_t limit)
{
    size_t n_turns = 0;
    for (size_t i = 0; i < d->n_records; i++) {
        const struct lq_record *r = &d->records[i];
        if (r->id[0] == '\0' || r->image[0] == '\0' || r->n_turns == 0 || r->kind == NULL) abort();
        for (size_t t = 0; t < r->n_turns; t++) check_turn(&r->turns[t]);
        n_turns += r->n_turns;
    }
    if (n_turns != d->n_turns || d->n_pictures == 0 || d->n_pictures > d->n_records || strlen(d->hash) != 32) abort();
    if (limit > 0 && d->n_pictures > limit) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lq_dataset *d = NULL;
    struct lq_error err = {0};
    struct lq_dataset_options options = {.limit = size % 3, .seed = size, .strict = size % 5 == 0};
    char path[64];
    int fd = anonymous_file(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum lq_status status = lq_dataset_load(&d, path, &options, &err);
    close(fd);
    if (status != LQ_OK) {
        if (d != NULL || err.status != status || err.message[0] == '\0') abort();
        return 0;
    }
    check(d, options.limit);
    lq_dataset_free(d);
    return 0;
}
