/* Which inputs a pair's matrices take: found by looking on while one record runs.
 *
 * Enters: what an observer is told. Leaves: the different inputs, each under the name of the matrix that takes it first,
 * with the other matrices that share it; the vision half's before the language half's, in the order in which they are
 * computed.
 * Invariants: only matrices count that the model room holds to be quantisable; names, columns and experts are those of
 * the files.
 */
#ifndef LQ_CALIBRATE_CENSUS_H
#define LQ_CALIBRATE_CENSUS_H

#include "llava_quantize/model.h"
#include "runtime/observe.h"

struct lq_input {
    const struct lq_tensor *first;    /* borrowed from the model */
    const struct lq_tensor **members; /* the others that take it, in computing order */
    size_t n_members;
    uint64_t n_rows; /* that the record gave */
};

struct lq_census {
    const struct lq_tensor **known; /* of both halves, what may be quantised; by name */
    size_t n_known;
    struct lq_input *inputs;
    size_t n;
    struct lq_share *shares; /* told, and not yet given to an input */
    size_t n_shares;
    struct lq_error err; /* of a callback */
    size_t *by_name;     /* numbers of inputs; made by lq_census_finish */
};

/* Borrows the model. On failure release too. */
enum lq_status lq_census_init(struct lq_census *census, const struct lq_model *model, struct lq_error *err);
void lq_census_release(struct lq_census *census);
/* An observer's callbacks, to be used on one record; `data` is the census. */
bool lq_census_wants(void *data, const char *weight);
void lq_census_sees(void *data, const struct lq_observation *observation);
void lq_census_shares(void *data, const char *weight, const char *first);
/* Once the record has run. LQ_ERR_RUNTIME for a matrix that is not of the shape the files say; LQ_ERR_MEMORY. */
enum lq_status lq_census_finish(struct lq_census *census, struct lq_error *err);

/* The input that is first taken by `weight`; NULL when there is none. O(log n). */
const struct lq_input *lq_census_find(const struct lq_census *census, const char *weight);
static inline size_t lq_input_columns(const struct lq_input *input)
{
    return input->first->ne[0];
}
static inline size_t lq_input_experts(const struct lq_input *input)
{
    return input->first->ne[2];
}

#endif
