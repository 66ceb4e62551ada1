/* What planning measures, kept in the statistics file, so that a plan for another size costs nothing.
 *
 * Enters: a statistics file, and for each kind of measurement the terms that it depends on. Leaves: what earlier runs
 * measured on the same terms; at the end the same file with what this run adds.
 * Invariants: what was measured on other terms is never found, and is replaced once something of its kind is added;
 * everything else in the file stays byte for byte; numbers are finite and not negative.
 *
 *     lq_measured_terms(terms, &basis, &err);
 *     lq_measurements_open(&m, "stats.gguf", (const char *const *)terms, &stale, &err);
 *     const struct lq_measured *known = lq_measurements_find(m, LQ_MEASURED_ERRORS, "q4_k blk.0.attn_q.weight");
 *     if (known == NULL) lq_measurements_add(m, LQ_MEASURED_ERRORS, &(struct lq_measured){name, error}, &err);
 *     lq_measurements_save(m, &err);
 */
#ifndef LQ_CALIBRATE_MEASUREMENTS_H
#define LQ_CALIBRATE_MEASUREMENTS_H

#include "llava_quantize/dataset.h"
#include "llava_quantize/model.h"

enum lq_measured_kind {
    LQ_MEASURED_ERRORS,      /* relative squared output errors, of a tensor in a type: "q4_k blk.0.attn_q.weight" */
    LQ_MEASURED_DIVERGENCES, /* of the answers, with some tensors recoded: "q3_k TENSOR TENSOR ...", or a plan's hash */
    LQ_MEASURED_KINDS
};

struct lq_measured {
    const char *name; /* any plain text; the whole of what was measured, so that whatever differs differs here */
    double value;     /* relative error, or mean divergence in nats ... */
    double spread;    /* ... its standard error ... */
    double agreement; /* ... and the share of tokens whose likeliest stayed; both 0 of errors */
};

/* What numbers depend on, besides what their names say. */
struct lq_measured_basis {
    const struct lq_model *model;
    const char *method; /* lq_method_name */
    enum lq_effort effort;
    uint64_t rows;                 /* of the sample for errors; 0: all */
    const struct lq_dataset *data; /* of divergences, as it was drawn; NULL: none */
    uint64_t limit;                /* questions that are asked of them */
};

/* A text for each kind, line by line "what: value", from the basis, this program's version and what its encoders do;
 * free() each. Reads a row of each tensor. On failure `terms` are untouched. */
enum lq_status lq_measured_terms(char *terms[LQ_MEASURED_KINDS], const struct lq_measured_basis *basis,
                                 struct lq_error *err);

struct lq_measurements;

/* Of `path` only metadata are read. `stale`: its message is "" or says which measurements do not count and the first of
 * their terms that differs. Errors: LQ_ERR_IO; LQ_ERR_FORMAT: no GGUF file, or measurements that are none;
 * LQ_ERR_MEMORY. On failure *out is untouched. */
enum lq_status lq_measurements_open(struct lq_measurements **out, const char *path,
                                    const char *const terms[LQ_MEASURED_KINDS], struct lq_error *stale,
                                    struct lq_error *err);
void lq_measurements_free(struct lq_measurements *measurements);
/* NULL: not yet measured. Borrowed until something is added. */
const struct lq_measured *lq_measurements_find(const struct lq_measurements *measurements, enum lq_measured_kind kind,
                                               const char *name);
/* Copies `measured`, in place of one of the same name. Errors: LQ_ERR_USAGE: a number that is not finite or negative, a
 * name that is no plain text; LQ_ERR_MEMORY. */
enum lq_status lq_measurements_add(struct lq_measurements *measurements, enum lq_measured_kind kind,
                                   const struct lq_measured *measured, struct lq_error *err);
/* Writes the file anew under its own name, if anything was added since the last time; data are copied piece by piece.
 * Errors: LQ_ERR_USAGE when it is no longer the file that was opened; LQ_ERR_IO, LQ_ERR_MEMORY; it is then left as it
 * is, and so are the measurements in memory. */
enum lq_status lq_measurements_save(struct lq_measurements *measurements, struct lq_error *err);

struct lq_stats;
/* How many of each kind a file holds, on whatever terms; zeros of the older binary form. Errors: as
 * lq_measurements_open. */
enum lq_status lq_measured_counts(const struct lq_stats *stats, size_t counts[LQ_MEASURED_KINDS], struct lq_error *err);

#endif
