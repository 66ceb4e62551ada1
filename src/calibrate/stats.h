/* Statistics in memory: what both forms of imatrix files and ours leave behind once read and cleaned.
 *
 * Enters: a file. Leaves: for each matrix a row of means for each expert, and where second moments stand.
 * Invariants: entries are sorted by name, no name stands twice; means are finite and not negative, and no row of them
 * is zero; every tensor of our form has the shape that its matrix asks for.
 *
 *     const struct lq_stats_entry *e = lq_stats_find(stats, tensor->name);
 *     if (e != NULL && e->means != NULL) use(e->means, e->rows);
 */
#ifndef LQ_CALIBRATE_STATS_H
#define LQ_CALIBRATE_STATS_H

#include "calibrate/stats_file.h"
#include "llava_quantize/calibrate.h"
#include "source/source.h"

enum {
    LQ_STATS_NAME = 64, /* a GGUF tensor's name with its terminator */
    LQ_STATS_HEAD = 8 + LQ_STATS_NAME,
};

struct lq_stats_entry {
    char *name;
    uint64_t n, rows;                   /* values; one row for each expert */
    float *means;                       /* NULL: no row says anything */
    double tokens, fewest;              /* of all rows together, of the one with the fewest; 0: the file does not say */
    uint64_t few, dead;                 /* rows with fewer than LQ_STATS_FEW; columns over all rows that are dead */
    const struct lq_stats_entry *first; /* of those that share its input; itself where it is alone */
};

struct lq_stats {
    char *path, *dataset, *pair; /* dataset: the first; pair: "" where the file names none */
    uint64_t chunks;
    uint64_t done, total; /* records and windows of the run that gathered them; 0: the file does not say */
    bool ours;            /* more than llama.cpp's form: LQ_STATS_KEY_VERSION is there */
    bool uneven; /* of an unfinished run whose second moments are of fewer tokens than the rest: they do not count */
    size_t n_entries;
    struct lq_stats_entry *entries;
    struct lq_source *source; /* stays open for what is read on demand; NULL: the older form */
};

/* NULL when absent. */
const struct lq_stats_entry *lq_stats_find(const struct lq_stats *stats, const char *name);
/* The tensor "NAME SUFFIX" of our form, or NULL. */
const struct lq_source_tensor *lq_stats_tensor(const struct lq_stats *stats, const char *name, const char *suffix);
enum lq_status lq_stats_no_memory(const struct lq_stats *stats, struct lq_error *err);

/* Whether a file begins so in the older form: its first `n` bytes, at least LQ_STATS_HEAD where it is so long. */
bool lq_stats_is_legacy(const char *head, size_t n);
/* Reads the older binary form into `stats`, whose path is set. Errors: LQ_ERR_IO, LQ_ERR_FORMAT, LQ_ERR_MEMORY. */
enum lq_status lq_stats_load_legacy(struct lq_stats *stats, struct lq_error *err);
/* Checks what our form adds and links the entries, which are sorted, to those whose input they share. */
enum lq_status lq_stats_link(struct lq_stats *stats, struct lq_error *err);

/* Refuses values that are not finite or negative, with the name and the place of the first. `part` is the tensor's. */
enum lq_status lq_stats_check_values(const struct lq_stats *stats, const char *part, const float *values, uint64_t n,
                                     struct lq_error *err);
/* What e->means holds, sums, becomes means, cleaned. `counts`: of each row what to divide by, a whole number of tokens,
 * or, where `calls`, of calls with tokens that are not told. */
void lq_stats_clean(struct lq_stats_entry *e, const float *counts, bool calls);

#endif
