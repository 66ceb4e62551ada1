#include "calibrate/record_dialogue.h"

#include <stdlib.h>

enum lq_status lq_dialogue_of_record(struct lq_dialogue *out, const struct lq_runtime *rt,
                                     const struct lq_record *record, struct lq_error *err)
{
    struct lq_dialogue_turn *turns = calloc(record->n_turns, sizeof *turns);
    if (turns == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a conversation of %zu turns", record->n_turns);
    for (size_t t = 0; t < record->n_turns; t++) {
        const struct lq_turn *turn = &record->turns[t];
        turns[t] = (struct lq_dialogue_turn){turn->question, turn->answers[turn->likeliest]};
    }
    enum lq_status status = lq_dialogue_build(out, rt, turns, record->n_turns, err);
    free(turns);
    return status;
}

bool lq_is_record_fault(enum lq_status status)
{
    return status == LQ_ERR_IO || status == LQ_ERR_FORMAT || status == LQ_ERR_UNSUPPORTED || status == LQ_ERR_USAGE;
}
