/* A nameless file for sums that do not fit into memory.
 *
 * Enters: a folder, a size. Leaves: positioned reads and writes. Invariants: the file has no name, so that nothing is
 * left of it however the process ends; all of its space was taken when it was opened.
 */
#ifndef LQ_CALIBRATE_SPILL_H
#define LQ_CALIBRATE_SPILL_H

#include "llava_quantize/base.h"

struct lq_spill {
    int fd;       /* -1: closed */
    char *folder; /* for messages */
};

#define LQ_SPILL_NONE ((struct lq_spill){.fd = -1})

/* Reads as zeros. LQ_ERR_IO: the message says how much is needed and how much is free. */
enum lq_status lq_spill_open(struct lq_spill *out, const char *folder, uint64_t bytes, struct lq_error *err);
void lq_spill_close(struct lq_spill *spill);
enum lq_status lq_spill_read(const struct lq_spill *spill, uint64_t offset, void *dst, uint64_t n,
                             struct lq_error *err);
enum lq_status lq_spill_write(const struct lq_spill *spill, uint64_t offset, const void *src, uint64_t n,
                              struct lq_error *err);

/* LQ_ERR_IO when the folder's file system has not so many bytes left; `what` they are for stands in the message. */
enum lq_status lq_spill_check_space(const char *folder, uint64_t bytes, const char *what, struct lq_error *err);
/* Measures how many bytes a second the folder's disk takes and gives. */
enum lq_status lq_spill_rate(double *out, const char *folder, struct lq_error *err);

#endif
