/* An answer as lq_runtime_ask hands it over, piece by piece.
 *
 *     struct answer answer = {.limit = 2};   // 0: all of it
 *     lq_runtime_ask(rt, &question, answer_append, &answer, &err);
 */
#ifndef LQ_TEST_ANSWER_H
#define LQ_TEST_ANSWER_H

#include <string.h>

struct answer {
    char text[1024];
    size_t n, pieces, limit;
};

static inline bool answer_append(void *data, const char *piece, size_t length)
{
    struct answer *a = data;
    assert_true(a->n + length < sizeof a->text);
    memcpy(a->text + a->n, piece, length);
    a->n += length;
    a->text[a->n] = 0;
    a->pieces++;
    return a->limit == 0 || a->pieces < a->limit;
}

#endif
