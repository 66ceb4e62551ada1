/* Sitting the exam: pictures in groups, their questions in batches, all lanes alike.
 *
 * Enters: a tokenised exam, a race. Leaves: the race's scores of every token of every right answer (question numbers
 * are the exam's), each question's greedy answers, each picture's comparison of the two projectors.
 * Invariants: at most one group's pictures are held at a time; what is asked about a picture shares its place in
 * memory; the answer of a model that finds every token of the right answer likeliest is that answer.
 *
 * A group is as many pictures, with all that is asked about them, as fit the lanes' cells: enough to fill a batch, and
 * no more, because every token is compared with all cells.
 */
#ifndef LQ_EVALUATE_SITTING_H
#define LQ_EVALUATE_SITTING_H

#include "evaluate/exam.h"
#include "base/meter.h"

struct lq_sitting_terms {
    uint32_t cells;         /* of a lane, more only where one picture and a question need them */
    uint32_t max_tokens;    /* of a greedy answer; 0: twice the right answer's and 16 more */
    struct lq_meter *meter; /* counts tokens of one runner; its total is estimated anew with every picture */
};

/* What is not yet known of a picture's tokens before one was seen. */
enum { LQ_USUAL_PICTURE = 576 };

enum lq_status lq_exam_sit(struct lq_exam *exam, struct lq_race *race, const struct lq_sitting_terms *terms,
                           struct lq_error *err);

#endif
