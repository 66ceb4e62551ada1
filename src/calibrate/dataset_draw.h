/* Which pictures of a data set take part: at most so many, drawn at random, the same ones on every machine.
 *
 * Enters: records, a seed. Leaves: the records of the drawn pictures, in their old order.
 * Invariants: the draw depends on the seed and on the image paths as the file gives them, on nothing else: the records'
 * order and ids and the folder of the pictures play no part; a smaller limit draws some of a larger one's pictures.
 *
 * The paths, each once and sorted by their bytes, are shuffled from the front (Fisher and Yates) with SplitMix64 from
 * `seed`; the first `limit` are taken.
 */
#ifndef LQ_CALIBRATE_DATASET_DRAW_H
#define LQ_CALIBRATE_DATASET_DRAW_H

#include "llava_quantize/dataset.h"

/* *n_pictures: different pictures that are left. limit 0: all. `folder` is what was put before relative paths. Records
 * left out are released. LQ_ERR_MEMORY: nothing has changed. */
enum lq_status lq_dataset_draw(struct lq_record *records, size_t *n_records, size_t *n_pictures, const char *folder,
                               size_t limit, uint64_t seed, struct lq_error *err);

#endif
