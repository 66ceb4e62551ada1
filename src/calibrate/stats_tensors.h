/* The tensors of a statistics file, as the one who writes it lays them out and the one who resumes it expects them.
 *
 * Enters: a calibration. Leaves: for each tensor its name, type and shape, and which sums it holds.
 */
#ifndef LQ_CALIBRATE_STATS_TENSORS_H
#define LQ_CALIBRATE_STATS_TENSORS_H

#include "calibrate/gathering.h"
#include "calibrate/stats_parts.h"

struct lq_stats_tensors {
    size_t n;
    struct lq_output_tensor *items;
    char **names; /* owned; what items[].name points at */
    size_t *inputs;
    enum lq_stats_part *parts;
};

/* `everything`: second moments too that no step has been added to. Errors: LQ_ERR_MEMORY, LQ_ERR_UNSUPPORTED (a name
 * that no GGUF file can hold, columns beyond counting). On failure *out is untouched; else release it. */
enum lq_status lq_stats_tensors_list(struct lq_stats_tensors *out, const struct lq_calibration *c, bool everything,
                                     struct lq_error *err);
void lq_stats_tensors_release(struct lq_stats_tensors *list);

/* The sums that a part is a plain copy of, all experts behind one another, and how many numbers; NULL for those that are
 * made of others. */
double *lq_stats_part_sums(const struct lq_input_sums *sums, enum lq_stats_part part, size_t *n);

#endif
