#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calibrate/gathering.h"
#include "model/names.h"

enum { SAMPLE_ROWS = 1 }; /* of each tensor */

/* ---- what the numbers depend on, as hashes ---- */

static void add(XXH3_state_t *hash, const void *data, size_t size)
{
    XXH3_128bits_update(hash, data, size);
}

static void take(char text[LQ_HASH_DIGITS + 1], XXH3_state_t *hash)
{
    lq_hash_text(text, XXH3_128bits_digest(hash));
}

/* Names, shapes, types and the first row of every tensor. */
static enum lq_status add_half(XXH3_state_t *hash, const struct lq_model *model, const struct lq_model_half *half,
                               struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < half->n_tensors && status == LQ_OK; i++) {
        const struct lq_tensor *t = &half->tensors[i];
        uint32_t type = (uint32_t)t->type;
        size_t bytes = t->rows == 0 ? 0 : (size_t)(t->bytes / t->rows * SAMPLE_ROWS);
        char *row = malloc(bytes + 1);
        if (row == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a row of '%s'", t->name);
        add(hash, t->name, strlen(t->name) + 1);
        add(hash, t->ne, sizeof t->ne);
        add(hash, &type, sizeof type);
        if (bytes > 0) status = lq_model_read(model, t, 0, SAMPLE_ROWS, row, err);
        if (status == LQ_OK) add(hash, row, bytes);
        free(row);
    }
    return status;
}

static void add_course(XXH3_state_t *hash, const struct lq_course *course)
{
    for (size_t i = 0; i < course->n_lessons; i++) {
        const struct lq_lesson *l = &course->lessons[i];
        size_t length;
        const char *image = lq_name_base(l->record->image, &length);
        uint64_t sizes[3] = {l->dialogue.n_head, l->picture_tokens, l->dialogue.n_text};
        add(hash, image, length + 1);
        add(hash, sizes, sizeof sizes);
        add(hash, l->dialogue.head, l->dialogue.n_head * sizeof *l->dialogue.head);
        add(hash, l->dialogue.text, l->dialogue.n_text * sizeof *l->dialogue.text);
    }
    add(hash, course->windows.tokens, course->windows.n * course->windows.window * sizeof *course->windows.tokens);
}

/* ---- the text ---- */

static void put_terms(FILE *out, const struct lq_calibration *c, const char *pair, const char *tokens)
{
    const struct lq_course *course = &c->course;
    fprintf(out, "pair: %s\n", pair);
    fprintf(out, "records: %zu\n", course->n_lessons);
    fprintf(out, "text windows: %zu of %u tokens\n", course->windows.n, course->windows.window);
    fprintf(out, "pictures, questions and texts: %s\n", tokens);
    fprintf(out, "weights of picture, after-picture and text tokens: %.9g %.9g %.9g\n", c->weights[0], c->weights[1],
            c->weights[2]);
    fprintf(out, "cap: %.9g\n", c->options.cap);
    fprintf(out, "second moments: %s\n", c->options.hessian ? "yes" : "no");
}

static XXH3_state_t *begin_hash(struct lq_error *err)
{
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL) lq_error_set(err, LQ_ERR_MEMORY, "no memory for a hash");
    else XXH3_128bits_reset(hash);
    return hash;
}

enum lq_status lq_terms_pair(char out[LQ_HASH_DIGITS + 1], const struct lq_model *model, struct lq_error *err)
{
    XXH3_state_t *hash = begin_hash(err);
    if (hash == NULL) return LQ_ERR_MEMORY;
    enum lq_status status = LQ_OK;
    for (int h = 0; h < LQ_HALVES && status == LQ_OK; h++)
        if (model->half[h] != NULL) status = add_half(hash, model, model->half[h], err);
    take(out, hash);
    XXH3_freeState(hash);
    return status;
}

enum lq_status lq_terms_text(char **out, const struct lq_calibration *c, struct lq_error *err)
{
    char pair[LQ_HASH_DIGITS + 1], tokens[LQ_HASH_DIGITS + 1], *text = NULL;
    size_t size = 0;
    enum lq_status status = lq_terms_pair(pair, c->model, err);
    XXH3_state_t *hash = status == LQ_OK ? begin_hash(err) : NULL;
    if (hash == NULL) return status == LQ_OK ? LQ_ERR_MEMORY : status;
    add_course(hash, &c->course);
    take(tokens, hash);
    XXH3_freeState(hash);
    FILE *stream = open_memstream(&text, &size);
    if (stream != NULL) put_terms(stream, c, pair, tokens);
    if (stream == NULL || fclose(stream) != 0) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for settings");
    *out = text;
    return LQ_OK;
}

/* ---- comparing ---- */

bool lq_terms_differ(const char *found, const char *wanted, char *text, size_t size)
{
    while (*found != '\0' || *wanted != '\0') {
        size_t n = strcspn(found, "\n"), m = strcspn(wanted, "\n"), key = strcspn(wanted, ":\n");
        if (n != m || strncmp(found, wanted, n) != 0) {
            bool same_key = n > key && strncmp(found, wanted, key) == 0;
            snprintf(text, size, "%.*s%s%.*s, now%.*s", (int)key, wanted, same_key ? ":" : "",
                     same_key ? (int)(n - key - 1) : 0, same_key ? found + key + 1 : "",
                     (int)(m > key ? m - key - 1 : 0), m > key ? wanted + key + 1 : "");
            return true;
        }
        found += n + (found[n] == '\n');
        wanted += m + (wanted[m] == '\n');
    }
    return false;
}

enum lq_status lq_terms_compare(const char *path, const char *found, const char *wanted, struct lq_error *err)
{
    char difference[512];
    if (!lq_terms_differ(found, wanted, difference, sizeof difference)) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE,
                        "%s: was gathered with other settings (%s): resume with the same, or gather anew with --force",
                        path, difference);
}
