/* One record of a data set, from JSON.
 *
 * Enters: a JSON value, the folder of its picture, its number. Leaves: a record that owns its text, or the reason why
 * it is broken.
 * Invariants: what a record says twice, or in a place where the prompt cannot have it, breaks it; nothing is guessed.
 *
 *     {"question_id": 7, "image": "7.png", "text": "Which animal?", "answers": ["dog", "cat", "cat"]}
 *     {"id": "7", "image": "7.png", "conversations": [{"from": "human", "value": "<image>\nWhich animal?"},
 *                                                     {"from": "gpt", "value": "cat"}]}
 */
#ifndef LQ_CALIBRATE_DATASET_RECORD_H
#define LQ_CALIBRATE_DATASET_RECORD_H

#include "llava_quantize/dataset.h"

#include <jansson.h>

/* `folder` is put before a relative image path as it stands ("" or with a slash at its end); `number` becomes the id of
 * a record that has none. Errors: LQ_ERR_FORMAT, the message without file and line; LQ_ERR_MEMORY. On failure *out is
 * untouched; else release it. */
enum lq_status lq_dataset_record_read(struct lq_record *out, const json_t *value, const char *folder, size_t number,
                                      struct lq_error *err);
void lq_dataset_record_release(struct lq_record *record);

#endif
