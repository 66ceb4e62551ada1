/* A record of a data set as the runtime's dialogue: each question with the answer that is teacher-forced. */
#ifndef LQ_CALIBRATE_RECORD_DIALOGUE_H
#define LQ_CALIBRATE_RECORD_DIALOGUE_H

#include "llava_quantize/dataset.h"
#include "runtime/dialogue.h"

/* Errors: those of lq_dialogue_build. On failure *out is untouched. */
enum lq_status lq_dialogue_of_record(struct lq_dialogue *out, const struct lq_runtime *rt,
                                     const struct lq_record *record, struct lq_error *err);
/* Whether such a failure, or one to open or to measure its picture, is the record's: others may do. */
bool lq_is_record_fault(enum lq_status status);

#endif
