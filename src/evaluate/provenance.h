/* Where an evaluation comes from: what was run on what, by which versions, on which machine. */
#ifndef LQ_EVALUATE_PROVENANCE_H
#define LQ_EVALUATE_PROVENANCE_H

#include "llava_quantize/evaluate.h"

/* What the options and the machine tell: everything but pictures, records, broken, text_hash, text_windows, window and
 * seconds. */
enum lq_status lq_provenance_fill(struct lq_provenance *out, const struct lq_evaluate_options *options,
                                  struct lq_error *err);
/* The most memory that this process has held so far, in bytes. */
uint64_t lq_peak_memory(void);

#endif
