/* What measurements depend on, as text. */
#include "base/hash.h"
#include "calibrate/gathering.h"
#include "calibrate/measurements.h"
#include "codec/encode.h"
#include "codec/levels.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLE = LQ_GRID_WEIGHTS, MOST_BYTES = SAMPLE * sizeof(float) };

/* Of what our encoders make of a block: other ones give other errors. */
static void hash_encoders(XXH3_state_t *hash, enum lq_effort effort)
{
    float weights[SAMPLE], importance[SAMPLE];
    uint8_t coded[MOST_BYTES];
    uint32_t seed = 1;
    for (int i = 0; i < SAMPLE; i++) {
        seed = seed * 1664525u + 1013904223u;
        weights[i] = (float)(int32_t)seed * 0x1p-31f;
        importance[i] = (float)(seed >> 16);
    }
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        if (lq_grid_find((enum lq_type)type) == NULL ||
            lq_codec_encode((enum lq_type)type, weights, 1, SAMPLE, importance, effort, coded, NULL) != LQ_OK)
            continue;
        XXH3_128bits_update(hash, coded, lq_format_row_bytes(type, SAMPLE));
    }
}

/* Pictures by name, questions and right answers, in order: what --limit and --seed drew. */
static void hash_records(XXH3_state_t *hash, const struct lq_dataset *data)
{
    for (size_t i = 0; data != NULL && i < data->n_records; i++) {
        const struct lq_record *r = &data->records[i];
        const char *slash = strrchr(r->image, '/'), *image = slash == NULL ? r->image : slash + 1;
        XXH3_128bits_update(hash, image, strlen(image) + 1);
        for (size_t k = 0; k < r->n_turns; k++) {
            const char *question = r->turns[k].question, *answer = r->turns[k].answers[r->turns[k].likeliest];
            XXH3_128bits_update(hash, question, strlen(question) + 1);
            XXH3_128bits_update(hash, answer, strlen(answer) + 1);
        }
    }
}

static void put_terms(FILE *out, const struct lq_measured_basis *basis, bool divergences, const char *const hashes[3])
{
    fprintf(out, "version: %s with llama.cpp " LQ_LLAMA_VERSION "\n", lq_version());
    fprintf(out, "encoders: %s\n", hashes[0]);
    fprintf(out, "pair: %s\n", hashes[1]);
    fprintf(out, "method: %s\n", basis->method);
    fprintf(out, "effort: %s\n", lq_effort_name(basis->effort));
    if (!divergences) fprintf(out, "rows: %" PRIu64 "\n", basis->rows);
    if (!divergences) return;
    fprintf(out, "data: %s\n", basis->data != NULL ? basis->data->hash : "none");
    fprintf(out, "records drawn: %zu, %s\n", basis->data != NULL ? basis->data->n_records : 0, hashes[2]);
    fprintf(out, "questions asked: %" PRIu64 "\n", basis->limit);
}

static bool write_terms(char **out, const struct lq_measured_basis *basis, bool divergences,
                        const char *const hashes[3])
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL) return false;
    put_terms(stream, basis, divergences, hashes);
    bool closed = fclose(stream) == 0;
    if (closed) *out = text;
    else free(text);
    return closed;
}

enum lq_status lq_measured_terms(char *terms[LQ_MEASURED_KINDS], const struct lq_measured_basis *basis,
                                 struct lq_error *err)
{
    char encoders[LQ_HASH_DIGITS + 1], pair[LQ_HASH_DIGITS + 1], records[LQ_HASH_DIGITS + 1];
    const char *const hashes[3] = {encoders, pair, records};
    char *made[LQ_MEASURED_KINDS] = {NULL};
    enum lq_status status = lq_terms_pair(pair, basis->model, err);
    if (status != LQ_OK) return status;
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a hash");
    XXH3_128bits_reset(hash);
    hash_encoders(hash, basis->effort);
    lq_hash_text(encoders, XXH3_128bits_digest(hash));
    XXH3_128bits_reset(hash);
    hash_records(hash, basis->data);
    lq_hash_text(records, XXH3_128bits_digest(hash));
    XXH3_freeState(hash);
    bool complete = true;
    for (int k = 0; k < LQ_MEASURED_KINDS; k++)
        complete = complete && write_terms(&made[k], basis, k == LQ_MEASURED_DIVERGENCES, hashes);
    for (int k = 0; k < LQ_MEASURED_KINDS; k++)
        if (complete) terms[k] = made[k];
        else free(made[k]);
    return complete ? LQ_OK : lq_error_set(err, LQ_ERR_MEMORY, "no memory for settings");
}
