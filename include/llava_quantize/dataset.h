/* Questions about pictures, in the forms in which people have them.
 *
 * Enters: LLaVA's conversation JSON, [{"id", "image", "conversations": [{"from", "value"}, ...]}, ...], or question
 * lines {"question_id", "image", "text", "answer" or "answers", "kind"}; either form as one JSON array or one object a
 * line. Leaves: records in file order, each a picture with one or more turns.
 * Invariants: a record that is broken is named and left out, never guessed at; more than a tenth of them end the load;
 * nothing is read but the file itself, so a picture that is missing or unreadable shows when it is used.
 *
 *     struct lq_dataset *data = NULL;
 *     if (lq_dataset_load(&data, "exam.jsonl", NULL, &err) == LQ_OK)
 *         printf("%s %s\n", data->records[0].image, data->records[0].turns[0].question);
 *     lq_dataset_free(data);
 */
#ifndef LLAVA_QUANTIZE_DATASET_H
#define LLAVA_QUANTIZE_DATASET_H

#include "llava_quantize/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One question and what may be answered. */
struct lq_turn {
    const char *question;       /* without "<image>" */
    const char *const *answers; /* as given, at least one */
    size_t n_answers;
    size_t likeliest; /* index of the answer given most often, the first of equals: the one that is teacher-forced */
};

struct lq_record {
    const char *id;    /* "id" or "question_id", as text; else its number from 1 */
    const char *image; /* path, relative ones resolved */
    const char *kind;  /* "" where the record has none */
    size_t n_turns;
    const struct lq_turn *turns;
};

struct lq_dataset {
    const char *path;
    char hash[33]; /* XXH3-128 of the file's bytes, hexadecimal */
    size_t n_records;
    const struct lq_record *records;
    size_t n_pictures; /* different image paths among them */
    size_t n_turns;    /* of all records */
    size_t n_broken;   /* records left out; the first ten and the number of the others went to the log hook */
};

struct lq_dataset_options {
    const char *images; /* folder that relative image paths start from; NULL: the data file's */
    bool strict;        /* a broken record is an error */
    size_t limit;       /* at most that many pictures, drawn by `seed`, with all of their records; 0: all */
    uint64_t seed;
    const struct lq_hooks *hooks; /* may be NULL */
};

/* `options` may be NULL. Errors, naming the file and the line or record: LQ_ERR_IO, LQ_ERR_FORMAT (neither form, no
 * record at all, more than a tenth broken, any broken with `strict`), LQ_ERR_MEMORY, LQ_ERR_CANCELLED. On failure *out
 * is untouched. The rules of both forms are in docs/data-sets.md. */
enum lq_status lq_dataset_load(struct lq_dataset **out, const char *path, const struct lq_dataset_options *options,
                               struct lq_error *err);
void lq_dataset_free(struct lq_dataset *data);

#ifdef __cplusplus
}
#endif
#endif
